//! `bedside dicom node` beside the programs that clinics run: DCMTK's and Orthanc.

use std::collections::BTreeSet;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::dicom::File;
use crate::privacy::{CANARY, Program, get, listen, silent, until};

/// Objects that are sent while the node is killed; without it, a few.
const INSTANCES: &str = "BEDSIDE_NODE_INSTANCES";
const FEW: usize = 24;
const KILLS: usize = 5;

/// Class of pictures of endoscopes.
const ENDOSCOPIC: &str = "1.2.840.10008.5.1.4.1.1.77.1.1";

/// A picture of an endoscope with a red square, and the patient's name wherever there may be text.
fn picture(number: usize, size: u16) -> File {
    let uid = |kind: usize, number: usize| format!("1.2.826.0.1.3680043.9999.{kind}.{number}");
    let side = usize::from(size);
    let pixel = |at: usize| {
        let within = |v: usize| (side / 4..side / 2).contains(&v);
        match within(at % side) && within(at / side) {
            true => [200, 30, (number % 60) as u8],
            false => [(number % 50) as u8, 40, 40],
        }
    };
    File::default()
        .text(0x0008_0016, "UI", ENDOSCOPIC)
        .text(0x0008_0018, "UI", uid(1, number))
        .text(0x0008_0020, "DA", "20260102")
        .text(0x0008_0030, "TM", "101112")
        .text(0x0008_0050, "SH", CANARY)
        .text(0x0008_0060, "CS", "ES")
        .text(0x0008_0080, "LO", CANARY)
        .text(0x0008_0090, "PN", CANARY)
        .text(0x0008_1030, "LO", CANARY)
        .text(0x0008_103e, "LO", CANARY)
        .text(0x0010_0010, "PN", CANARY)
        .text(0x0010_0020, "LO", CANARY)
        .text(0x0010_0030, "DA", "19700102")
        .text(0x0010_0040, "CS", "F")
        .text(0x0010_4000, "LT", CANARY)
        .text(0x0020_000d, "UI", uid(2, 1))
        .text(0x0020_000e, "UI", uid(3, 1))
        .text(0x0020_0010, "SH", CANARY)
        .text(0x0020_0011, "IS", 1)
        .text(0x0020_0013, "IS", number)
        .word(0x0028_0002, 3)
        .text(0x0028_0004, "CS", "RGB")
        .word(0x0028_0006, 0)
        .word(0x0028_0010, size)
        .word(0x0028_0011, size)
        .word(0x0028_0100, 8)
        .word(0x0028_0101, 8)
        .word(0x0028_0102, 7)
        .word(0x0028_0103, 0)
        .put(
            0x7fe0_0010,
            "OW",
            (0..side * side).flat_map(pixel).collect::<Vec<u8>>(),
        )
}

/// A program of the system's, which may lie where only administrators look.
fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin"));
    command
}

/// Whether all of these can be run; says so where not.
fn have(names: &[&str]) -> bool {
    for name in names {
        if program(name).arg("--version").output().is_err() {
            println!("skipped: {name} is not installed; hint: apt-get install dcmtk orthanc");
            return false;
        }
    }
    true
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A node's folder, bundle and configuration, and pictures to be sent.
struct Site {
    folder: TempDir,
    port: u16,
    archive: u16,
    /// All that nodes have logged.
    log: Arc<Mutex<String>>,
}

impl Site {
    /// `more` stands before the tables of the configuration, `rest` behind.
    fn new(more: &str, rest: &str) -> Self {
        let site = Self {
            folder: tempfile::tempdir().unwrap(),
            port: free_port(),
            archive: free_port(),
            log: Arc::default(),
        };
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bundle");
        let packed = Command::new(env!("CARGO_BIN_EXE_bedside"))
            .arg("pack")
            .args([&golden, &site.path("tiny.bedside")])
            .stdout(Stdio::null())
            .status();
        assert!(packed.unwrap().success());
        let config = format!(
            "folder = {:?}\nlisten = \"127.0.0.1:{}\"\n{more}\n[archive]\naddress = \"127.0.0.1:{}\"\n\
             max_wait_s = 1\n{rest}\n[[rules]]\nmodality = \"endoscopy\"\nprompts = [\"polyp\"]\n",
            site.path("queue"),
            site.port,
            site.archive,
        );
        fs::write(site.path("node.toml"), config).unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn bedside(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bedside"));
        command
            .args(args)
            .arg("--config")
            .arg(self.path("node.toml"))
            .env("BEDSIDE_BUNDLE", self.path("tiny.bedside"))
            .env("BEDSIDE_CACHE", self.path("cache"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// A node that listens.
    fn node(&self) -> Program {
        let mut node = Program(self.bedside(&["dicom", "node"]).spawn().unwrap());
        let said = listen(node.0.stderr.take().unwrap());
        until("a node that listens", || {
            assert!(
                node.0.try_wait().unwrap().is_none(),
                "{}",
                said.lock().unwrap()
            );
            said.lock().unwrap().contains("listening").then_some(())
        });
        let (log, from) = (self.log.clone(), said);
        // One log of all nodes of a test; a node that was killed says no more.
        thread::spawn(move || {
            let mut told = 0;
            while Arc::strong_count(&log) > 1 {
                let said = from.lock().unwrap().clone();
                log.lock().unwrap().push_str(&said[told..]);
                told = said.len();
                thread::sleep(Duration::from_millis(20));
            }
        });
        node
    }

    fn write(&self, name: &str, picture: &File) -> PathBuf {
        let folder = self.path(&format!("{CANARY} in"));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{CANARY}-{name}.dcm"));
        fs::write(&path, picture.bytes(ENDOSCOPIC)).unwrap();
        path
    }

    fn pictures(&self, numbers: std::ops::RangeInclusive<usize>) -> Vec<PathBuf> {
        numbers
            .map(|n| self.write(&n.to_string(), &picture(n, 32)))
            .collect()
    }

    /// What storescu says.
    fn store(&self, files: &[PathBuf]) -> String {
        self.ask("storescu", files)
    }

    fn ask(&self, name: &str, files: &[PathBuf]) -> String {
        let ended = program(name)
            .args([
                "-v",
                "-aet",
                "CART1",
                "-aec",
                "BEDSIDE",
                "127.0.0.1",
                &self.port.to_string(),
            ])
            .args(files)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = [ended.stdout, ended.stderr].concat();
        String::from_utf8_lossy(&said).into_owned()
    }

    /// What lies in the queue.
    fn queue(&self) -> Value {
        let told = self
            .bedside(&["dicom", "queue", "--json"])
            .output()
            .unwrap();
        let text = String::from_utf8(told.stdout).unwrap();
        silent("the queue", &text);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }

    /// DCMTK's archive, into a folder.
    fn storescp(&self, args: &[&str]) -> (Program, PathBuf) {
        let folder = self.path("archive");
        fs::create_dir_all(&folder).unwrap();
        let started = program("storescp")
            .args(args)
            .args(["-aet", "ARCHIVE", "-od", folder.to_str().unwrap()])
            .arg(self.archive.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        (Program(started.unwrap()), folder)
    }

    fn logged(&self, what: &str) -> usize {
        self.log.lock().unwrap().matches(what).count()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("the node's log:\n{}", self.log.lock().unwrap());
        }
    }
}

/// Files that storescu says were taken.
fn taken(said: &str) -> BTreeSet<PathBuf> {
    let mut at = None;
    let mut taken = BTreeSet::new();
    for line in said.lines() {
        if let Some((_, path)) = line.split_once("Sending file: ") {
            at = Some(PathBuf::from(path));
        } else if line.contains("Received Store Response (Success)") {
            taken.extend(at.take());
        }
    }
    taken
}

#[test]
fn echo_and_store_answer_whom_they_should() {
    if !have(&["echoscu", "storescu"]) {
        return;
    }
    let other = Site::new("peers = [{ ae = \"CART2\", host = \"127.0.0.1\" }]", "");
    let node = other.node();
    let said = other.ask("echoscu", &[]);
    assert!(said.contains("Calling AE Title Not Recognized"), "{said}");
    drop(node);

    let site = Site::new(
        "limits = { associations = 1, idle_s = 2, object_mib = 1, keep_free_mib = 0 }",
        "",
    );
    let _node = site.node();
    let said = site.ask("echoscu", &[]);
    assert!(said.contains("Received Echo Response (Success)"), "{said}");
    let called = program("echoscu")
        .args(["-aec", "ELSEWHERE", "127.0.0.1", &site.port.to_string()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&called.stderr).into_owned();
    assert!(said.contains("Called AE Title Not Recognized"), "{said}");

    // Whoever says nothing has a place no longer than that.
    let _silent = TcpStream::connect(("127.0.0.1", site.port)).unwrap();
    until("a refusal", || {
        let said = site.ask("echoscu", &[]);
        said.contains("Local Limit Exceeded").then_some(())
    });
    until("an answer again", || {
        let said = site.ask("echoscu", &[]);
        said.contains("Received Echo Response (Success)")
            .then_some(())
    });

    let large = site.write("large", &picture(1, 800));
    let said = site.store(&[large]);
    assert!(said.contains("Refused: OutOfResources"), "{said}");
    until("a word of why", || {
        (site.logged("larger than is taken here") == 1).then_some(())
    });
    assert_eq!(site.queue()["received"], 0);
    silent("the log", &site.log.lock().unwrap());
}

/// A small disk, where the system lets one be mounted.
struct Disk(PathBuf);

impl Disk {
    fn new(at: &Path, kib: u32) -> Option<Self> {
        fs::create_dir(at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "none"])
            .arg(at)
            .stderr(Stdio::null())
            .status();
        let mounted = mounted.is_ok_and(|status| status.success());
        mounted.then(|| Self(at.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_refuses_and_loses_nothing() {
    if !have(&["storescu"]) {
        return;
    }
    let site = Site::new("limits = { keep_free_mib = 100_000_000 }", "");
    let node = site.node();
    let said = site.store(&site.pictures(1..=1));
    assert!(said.contains("OutOfResources"), "{said}");
    assert_eq!(site.queue()["received"], 0);
    drop(node);

    let site = Site::new("limits = { keep_free_mib = 0 }", "");
    let Some(_disk) = Disk::new(&site.path("queue"), 600) else {
        println!("skipped: no disk can be mounted");
        return;
    };
    let _node = site.node();
    // There is no archive yet, so that all of it waits, until there is room no more.
    let files = site.pictures(1..=100);
    let mut acknowledged = BTreeSet::new();
    for file in &files {
        let said = site.store(std::slice::from_ref(file));
        acknowledged.extend(taken(&said));
        if said.contains("OutOfResources") {
            break;
        }
    }
    assert!(
        (5..100).contains(&acknowledged.len()),
        "{}",
        acknowledged.len()
    );
    let (_archive, folder) = site.storescp(&[]);
    until("all of it in the archive", || {
        let there = fs::read_dir(&folder).unwrap().count();
        (there == 2 * acknowledged.len()).then_some(())
    });
    // There is room again.
    let said = site.store(&files[99..]);
    assert_eq!(taken(&said).len(), 1, "{said}");
    silent("the log", &site.log.lock().unwrap());
}

#[test]
fn poison_is_put_aside_with_the_reason_and_the_rest_goes_on() {
    if !have(&["storescu", "storescp"]) {
        return;
    }
    let site = Site::new("limits = { keep_free_mib = 0 }", "tries = 2");
    let sound = |at: usize| picture(100 + at, 32);
    let poison = [
        sound(0).word(0x0028_0010, 0x7fff),
        sound(1).word(0x0028_0010, 0),
        sound(2).text(0x0028_0004, "CS", CANARY),
        sound(3).text(0x0028_0008, "IS", CANARY),
        sound(4).text(0x0020_000d, "UI", CANARY),
        sound(5).word(0x0028_0100, 7),
        sound(6).put(0x7fe0_0010, "OW", *b""),
        // No rule is for such a one.
        sound(7).text(0x0008_0060, "CS", "CT"),
    ];
    let mut files: Vec<_> = (0..)
        .zip(&poison)
        .map(|(at, picture): (usize, _)| site.write(&format!("poison{at}"), picture))
        .collect();
    files.extend(site.pictures(1..=3));
    let (archive, folder) = site.storescp(&[]);
    let node = site.node();
    let said = site.store(&files);
    assert_eq!(taken(&said).len(), files.len(), "{said}");
    let dead = files.len() - 3;
    until("an empty queue", || {
        let queue = site.queue();
        let done = queue["received"] == 0 && queue["outbox"] == 0;
        (done && queue["dead"].as_array().unwrap().len() == dead).then_some(())
    });
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 6);
    for one in site.queue()["dead"].as_array().unwrap() {
        let reason = one["reason"].as_str().unwrap();
        assert!(reason.contains("hint: "), "{reason}");
        let beside = site.path("queue/dead").join(one["name"].as_str().unwrap());
        assert!(beside.join("image.dcm").exists() && beside.join("reason.txt").exists());
    }
    drop((node, archive));

    // An archive that takes reports alone.
    let few = "[[TransferSyntaxes]]\n[Plain]\nTransferSyntax1 = LittleEndianImplicit\n\
        [[PresentationContexts]]\n[Few]\nPresentationContext1 = 1.2.840.10008.5.1.4.1.1.88.33\\Plain\n\
        [[Profiles]]\n[Default]\nPresentationContexts = Few\n";
    fs::write(site.path("few.cfg"), few).unwrap();
    let (archive, _) = site.storescp(&["-xf", site.path("few.cfg").to_str().unwrap(), "Default"]);
    let node = site.node();
    site.store(&site.pictures(4..=4));
    until("one more put aside", || {
        let queue = site.queue();
        let dead = queue["dead"].as_array().unwrap();
        let refused = dead
            .iter()
            .find(|one| one.to_string().contains("the archive takes no objects"));
        refused.map(|one| one["name"].as_str().unwrap().to_owned())
    });
    let queue = site.queue();
    let dead = queue["dead"].as_array().unwrap();
    let refused = dead
        .iter()
        .find(|one| one.to_string().contains("the archive takes no objects"));
    let name = refused.unwrap()["name"].as_str().unwrap();
    drop((node, archive));

    // Moved back, it is sent: now also in the transfer syntax that every archive takes.
    let place = |stage: &str| site.path("queue").join(stage).join(name);
    fs::rename(place("dead"), place("outbox")).unwrap();
    let (_archive, folder) = site.storescp(&["+xi"]);
    let _node = site.node();
    until("all in the archive", || {
        (fs::read_dir(&folder).unwrap().count() == 8).then_some(())
    });
    silent("the log", &site.log.lock().unwrap());
    let dumped = Command::new("dcmdump")
        .args(["+P", "0010,0010"])
        .arg(folder)
        .arg("+sd")
        .output();
    let dumped = String::from_utf8_lossy(&dumped.unwrap().stdout).into_owned();
    assert_eq!(
        dumped.matches(CANARY).count(),
        8,
        "masks are the patient's: {dumped}"
    );
}

/// An archive that people run.
struct Orthanc {
    _process: Program,
    http: String,
}

impl Orthanc {
    fn new(site: &Site) -> Self {
        let port = free_port();
        let folder = site.path("orthanc");
        fs::create_dir(&folder).unwrap();
        let config = json!({
            "StorageDirectory": folder, "IndexDirectory": folder,
            "DicomAet": "ARCHIVE", "DicomPort": site.archive, "DicomCheckCalledAet": true,
            "DicomAlwaysAllowStore": true, "HttpPort": port, "RemoteAccessAllowed": false,
            "AuthenticationEnabled": false, "Plugins": [],
        });
        let path = site.path("orthanc.json");
        fs::write(&path, config.to_string()).unwrap();
        let started = program("Orthanc")
            .arg(path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let process = Program(started.unwrap());
        let http = format!("127.0.0.1:{port}");
        until("an archive that answers", || TcpStream::connect(&http).ok());
        Self {
            _process: process,
            http,
        }
    }

    fn list(&self, what: &str) -> Vec<Value> {
        let answer = get(&self.http, &format!("/{what}?expand"));
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }

    /// The numbers of all instances of a modality, in order.
    fn numbers(&self, modality: &str) -> Vec<usize> {
        let series = self.list("series").into_iter();
        let series = series.filter(|series| series["MainDicomTags"]["Modality"] == modality);
        let series: BTreeSet<_> = series.map(|series| series["ID"].to_string()).collect();
        assert!(
            series.len() <= 1,
            "what is made of one series is one series: {series:?}"
        );
        let instances = self.list("instances").into_iter();
        let instances = instances.filter(|one| series.contains(&one["ParentSeries"].to_string()));
        let number = |one: Value| {
            one["MainDicomTags"]["InstanceNumber"]
                .as_str()?
                .parse()
                .ok()
        };
        let mut numbers: Vec<_> = instances.map(|one| number(one).unwrap()).collect();
        numbers.sort_unstable();
        numbers
    }
}

/// Two carts send at once; the node is killed again and again. What was acknowledged gets its masks,
/// once.
#[test]
fn what_was_acknowledged_has_its_masks_in_the_archive_once() {
    if !have(&["storescu", "Orthanc"]) {
        return;
    }
    let asked = std::env::var(INSTANCES).ok().map(|n| n.parse().unwrap());
    let all: usize = asked.unwrap_or(FEW);
    let site = Site::new("limits = { keep_free_mib = 0 }", "");
    let archive = Orthanc::new(&site);
    let files = site.pictures(1..=all);
    let began = Instant::now();
    let mut node = Some(site.node());
    let lost = thread::scope(|scope| {
        let carts: Vec<_> = files
            .chunks(all.div_ceil(2))
            .map(|files| {
                let site = &site;
                scope.spawn(move || {
                    let (mut rest, mut lost) = (files.to_vec(), 0);
                    while !rest.is_empty() {
                        let taken = taken(&site.store(&rest));
                        rest.retain(|file| !taken.contains(file));
                        lost += usize::from(!rest.is_empty());
                        thread::sleep(Duration::from_millis(50));
                    }
                    lost
                })
            })
            .collect();
        for kill in 1..=KILLS {
            let enough = kill * all / (KILLS + 1);
            while site.logged("received ") < enough {
                thread::sleep(Duration::from_millis(5));
            }
            // Not by a signal that it could be prepared for.
            drop(node.take());
            node = Some(site.node());
        }
        let lost = carts.into_iter().map(|cart| cart.join().unwrap());
        lost.sum::<usize>()
    });
    let sent = began.elapsed();
    // Each acknowledged one is somewhere.
    let patience = Duration::from_secs(120 + all as u64);
    loop {
        let queue = site.queue();
        assert_eq!(queue["dead"], json!([]));
        if queue["received"] == 0 && queue["outbox"] == 0 {
            break;
        }
        assert!(began.elapsed() < patience, "{queue}");
        thread::sleep(Duration::from_millis(200));
    }
    println!(
        "{all} acknowledged in {sent:?} over {lost} broken associations, all in the archive after {:?}",
        began.elapsed()
    );
    let each: Vec<_> = (1..=all).collect();
    assert_eq!(archive.numbers("SEG"), each);
    assert_eq!(archive.numbers("SR"), each);

    // Sent once more, long after: the archive has one all the same.
    let said = site.store(&files[..1]);
    assert_eq!(taken(&said).len(), 1);
    until("its masks sent", || {
        let queue = site.queue();
        (queue["received"] == 0 && queue["outbox"] == 0).then_some(())
    });
    assert_eq!(archive.numbers("SEG"), each);
    silent("the log", &site.log.lock().unwrap());
}

#[test]
fn a_configuration_that_can_not_be_meant_starts_nothing() {
    let site = Site::new("", "");
    let text = fs::read_to_string(site.path("node.toml")).unwrap();
    for (from, to, why) in [
        ("max_wait_s", "max_wait", "the nearest is 'max_wait_s'"),
        ("\"polyp\"", "\"zebra\"", "rules.prompts: "),
        ("\"127.0.0.1:", "\"0.0.0.0:", "listen: "),
    ] {
        fs::write(site.path("node.toml"), text.replacen(from, to, 1)).unwrap();
        let ended = site.bedside(&["dicom", "node"]).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(
            !ended.status.success() && said.contains(why) && said.contains("hint: "),
            "{said}"
        );
    }
    fs::write(site.path("node.toml"), &text).unwrap();
    let _first = site.node();
    let second = text.replace(&format!(":{}\"", site.port), &format!(":{}\"", free_port()));
    fs::write(site.path("node.toml"), second).unwrap();
    let ended = site.bedside(&["dicom", "node"]).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(said.contains("another node has this folder"), "{said}");
}

/// Who a patient is comes neither through the answers of `bedside segment` nor through its errors.
#[test]
fn answers_on_files_tell_nothing_of_the_patient() {
    let site = Site::new("", "");
    let folder = site.path("out");
    fs::create_dir(&folder).unwrap();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    fs::write(path("sound.dcm"), picture(1, 32).bytes(ENDOSCOPIC)).unwrap();
    let broken = picture(2, 32).text(0x0028_0004, "CS", CANARY);
    fs::write(path("broken.dcm"), broken.bytes(ENDOSCOPIC)).unwrap();
    for json in [&[][..], &["--json"]] {
        let ended = Command::new(env!("CARGO_BIN_EXE_bedside"))
            .args([
                "segment",
                "--prompt",
                "polyp",
                &path("sound.dcm"),
                &path("broken.dcm"),
            ])
            .args(["--csv", &path("areas.csv")])
            .args(json)
            .env("BEDSIDE_BUNDLE", site.path("tiny.bedside"))
            .env("BEDSIDE_CACHE", site.path("cache"))
            .output()
            .unwrap();
        silent("stdout", &String::from_utf8_lossy(&ended.stdout));
        silent("stderr", &String::from_utf8_lossy(&ended.stderr));
        silent("the table", &fs::read_to_string(path("areas.csv")).unwrap());
    }
}
