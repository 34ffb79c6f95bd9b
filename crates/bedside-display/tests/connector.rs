//! Names of connectors.

use bedside_display::Connector;

#[test]
fn a_connector_is_named_as_the_kernel_names_it() {
    for name in [
        "any",
        "HDMI-A-1",
        "DP-12",
        "eDP-1",
        "Virtual-1",
        "DVI-I-2",
        "USB-3",
    ] {
        let connector: Connector = name.parse().unwrap();
        assert_eq!(connector.to_string(), name);
    }
    for wrong in [
        "",
        "-",
        "1",
        "HDMI",
        "HDMI-1",
        "hdmi-a-1",
        "HDMI-A-",
        "HDMI-A-x",
        "HDMI-A--1",
        "DP-4294967296",
        "card0-DP-1",
        "/dev/dri/card0",
        "any-1",
        "Any",
    ] {
        let error = wrong.parse::<Connector>().unwrap_err();
        assert!(
            error.contains("hint: ") && !error.contains('\n'),
            "{wrong}: {error}"
        );
    }
}
