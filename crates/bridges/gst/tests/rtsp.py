"""Video that comes over RTSP: a server of this process shows a picture, and the element finds the polyp in it.

usage: rtsp.py BUNDLE PICTURE
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PATIENCE_S = 60


def serve(picture: str) -> str:
    """Serve the picture as video, and give the address."""
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service("0")
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        f"( filesrc location={picture} ! pngdec ! videoconvert ! imagefreeze is-live=true"
        " ! video/x-raw,format=I420,framerate=30/1 ! jpegenc quality=95 ! rtpjpegpay name=pay0 )"
    )
    server.get_mount_points().add_factory("/scope", factory)
    server.attach(None)
    return f"rtsp://127.0.0.1:{server.get_bound_port()}/scope"


def main() -> int:
    bundle, picture = sys.argv[1:]
    Gst.init(None)
    address, loop, states = serve(picture), GLib.MainLoop(), []
    pipeline = Gst.parse_launch(
        f"rtspsrc location={address} latency=50 ! rtpjpegdepay ! jpegdec ! videoconvert"
        f" ! bedsidesegment bundle={bundle} prompts=polyp still-after=0 ! fakesink sync=true"
    )

    def heard(_bus: Gst.Bus, message: Gst.Message) -> None:
        if message.type == Gst.MessageType.ERROR:
            states.append(message.parse_error()[0].message)
            loop.quit()
        said = message.get_structure()
        if said and said.get_name() == "bedside":
            states.append(said.get_string("state"))
            # A list of strings, which PyGObject of Debian 12 has no other view of.
            if "found=(string){ polyp }" in said.to_string().replace("\\", ""):
                states.append("found")
                loop.quit()

    bus = pipeline.get_bus()
    bus.add_signal_watch()
    bus.connect("message", heard)
    GLib.timeout_add_seconds(PATIENCE_S, loop.quit)
    pipeline.set_state(Gst.State.PLAYING)
    loop.run()
    pipeline.set_state(Gst.State.NULL)
    print(f"RTSP: {', '.join(states)}")
    return 0 if states[-1:] == ["found"] else 1


sys.exit(main())
