//! Start and end, as systemd has them.

use std::os::unix::net::UnixDatagram;
use std::process::Stdio;

use bedside_live::Record;

use crate::cart::Cart;

#[test]
fn a_request_to_terminate_ends_it_in_order() {
    let mut cart = Cart::start("");
    cart.until("frames", |cart| {
        cart.ask("status")["session"]["counts"]["shown"] != 0
    });
    cart.signal("-TERM");
    // One that took longer than 800 ms would have ended with the signal's code.
    assert!(cart.ended().success(), "{}", cart.said());
    assert!(matches!(cart.records().last(), Some(Record::End(_))));
    assert!(!cart.socket().exists());
}

#[test]
fn systemd_is_told_when_it_is_ready_how_it_is_and_that_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let mut cart = Cart::with("", |command| {
        command
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "3000000");
    });
    socket
        .set_read_timeout(Some(crate::cart::PATIENCE))
        .unwrap();
    let mut buffer = [0; 4096];
    let mut next = || {
        let count = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    };
    let mut told = next();
    while !told.contains("READY=1\n") {
        told = next();
    }
    assert!(
        told.contains("STATUS=") && told.contains("WATCHDOG=1\n"),
        "{told}"
    );
    let again = next();
    assert!(
        again.contains("WATCHDOG=1\n") && !again.contains("READY"),
        "{again}"
    );
    cart.signal("-TERM");
    assert!(cart.ended().success());
    assert!((0..100).any(|_| next().contains("STOPPING=1\n")));
}

#[test]
fn a_socket_of_a_daemon_that_was_killed_is_taken_over_and_one_in_use_is_not() {
    let mut cart = Cart::start("");
    let config = cart.path("bedsided.toml");
    let second = || {
        let mut command = crate::cart::command();
        command.arg("--config").arg(&config).output().unwrap()
    };
    let refused = second();
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{error}");
    assert!(
        error.contains("another daemon") && error.contains("hint: "),
        "{error}"
    );
    cart.signal("-KILL");
    cart.ended();
    assert!(cart.socket().exists());
    let mut command = crate::cart::command();
    let next = command.arg("--config").arg(&config);
    let mut next = next.stderr(Stdio::null()).spawn().unwrap();
    let began = std::time::Instant::now();
    while std::os::unix::net::UnixStream::connect(cart.socket()).is_err() {
        assert!(began.elapsed() < crate::cart::PATIENCE);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let _ = next.kill();
    let _ = next.wait();
}
