//! Graphs at and beyond the bounds, through the command.

use std::process::{Command, Output};

use bedside_fuzz::graphs::decoder;
use bedside_fuzz::onnx::{self, Graph};
use tempfile::TempDir;

use crate::deep::{chain, with_decoder};

/// Quotients and sums of the number of tokens, of which 0 is added to the score.
fn size(graph: &mut Graph, operations: usize) {
    graph.node("Shape", &["tokens"], "s0", &[]);
    for at in 0..operations {
        let operator = ["Div", "Add"][at % 2];
        let (from, to) = (format!("s{at}"), format!("s{}", at + 1));
        graph.node(operator, &[&from, "three"], &to, &[]);
    }
    let last = format!("s{operations}");
    graph.initializer(&onnx::reals("nothing", &[1], &[0.0]));
    graph.node("Cast", &[&last], "real", &[onnx::int("to", 1)]);
    graph.node("Mul", &["real", "nothing"], "zeros", &[]);
    graph.node(
        "ReduceSum",
        &["zeros", "zero"],
        "sum",
        &[onnx::int("keepdims", 0)],
    );
    graph.node("Add", &["first", "sum"], "score", &[]);
}

fn verify(model: &[u8]) -> Output {
    let temp = TempDir::new().unwrap();
    let folder = with_decoder(temp.path(), model);
    let mut command = Command::new(env!("CARGO_BIN_EXE_bedside"));
    command.arg("verify").arg(folder);
    command.env("BEDSIDE_CACHE", temp.path()).output().unwrap()
}

/// At the bounds the engine's stack suffices, beyond them it sees nothing: an abort has no exit code.
#[test]
fn p_16_a_deep_graph_is_refused_before_it_can_end_the_process() {
    let good = [
        decoder(|g| g.node("Identity", &["first"], "score", &[])),
        decoder(|g| chain(g, 4_000)),
        decoder(|g| size(g, 32)),
    ];
    for model in good {
        let output = verify(&model);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{text}");
    }
    let bad = [
        (decoder(|g| chain(g, 20_000)), "nodes"),
        (decoder(|g| chain(g, 4_100)), "one behind the other"),
        (decoder(|g| size(g, 20_000)), "32 operations"),
        (decoder(|g| size(g, 34)), "32 operations"),
        (
            decoder(|g| g.node("Loop", &["first"], "score", &[])),
            "operator Loop",
        ),
    ];
    for (model, word) in bad {
        let output = verify(&model);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(5), "{text}");
        assert!(
            text.contains("decoder.onnx") && text.contains(word),
            "{text}"
        );
    }
}
