//! What a graph may be, before an engine sees it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests may panic as tests do"
)]

use bedside_bundle::manifest::Graph as Stated;
use bedside_bundle::onnx::check_bounds;
use bedside_bundle::{Bundle, BundleError, ErrorKind};
use bedside_fuzz::onnx::{self, Element, Graph, bytes, number};
use bedside_tests::workspace;
use serde_json::json;

/// A graph from x to y, both f32 [2], by what `fill` adds.
fn graph(fill: impl FnOnce(&mut Graph)) -> Graph {
    let mut graph = Graph::default();
    graph.input(&onnx::end("x", Element::F32, &["2"]));
    graph.output(&onnx::end("y", Element::F32, &["2"]));
    fill(&mut graph);
    graph
}

fn check(model: &[u8]) -> Result<(), BundleError> {
    let two = |name| json!({"name": name, "dtype": "f32", "shape": [2]});
    let stated = json!({"part": "g.onnx", "inputs": [two("x")], "outputs": [two("y")]});
    let stated: Stated = serde_json::from_value(stated).unwrap();
    check_bounds(model, &stated)
}

#[track_caller]
fn refused(fill: impl FnOnce(&mut Graph), words: &str) {
    refused_model(&graph(fill).model(17), words);
}

#[track_caller]
fn refused_model(model: &[u8], words: &str) {
    let error = check(model).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(words) && text.contains("hint: "), "{text}");
    let kinds = [ErrorKind::Graph, ErrorKind::Contract];
    assert!(kinds.contains(&error.kind()), "{text}");
}

/// A chain of nodes from x to y.
fn chain(graph: &mut Graph, operators: &[&str], length: usize) {
    let mut name = "x".to_owned();
    for (at, operator) in (1..=length).zip(operators.iter().cycle()) {
        let next = if at == length {
            "y".to_owned()
        } else {
            format!("t{at}")
        };
        graph.node(operator, &[&name], &next, &[]);
        name = next;
    }
}

/// A size of so many operations, of which y is made.
fn size(graph: &mut Graph, operations: usize) {
    graph.initializer(&onnx::integers("three", &[3]));
    graph.node("Shape", &["x"], "s0", &[]);
    for at in 0..operations {
        let operator = ["Div", "Add"][at % 2];
        let (from, to) = (format!("s{at}"), format!("s{}", at + 1));
        graph.node(operator, &[&from, "three"], &to, &[]);
    }
    graph.node("Expand", &["x", &format!("s{operations}")], "y", &[]);
}

#[test]
fn p_16_the_graphs_of_known_models_pass() {
    let folder = workspace::root().join("tests/biomedparse");
    let stated = workspace::read("tests/biomedparse/graphs.json").unwrap();
    let stated: serde_json::Value = serde_json::from_str(&stated).unwrap();
    for name in ["encoder", "decoder"] {
        let model = std::fs::read(folder.join(name).with_extension("onnx")).unwrap();
        let stated: Stated = serde_json::from_value(stated[name].clone()).unwrap();
        check_bounds(&model, &stated).unwrap();
    }
    let edge = Bundle::open(workspace::root().join("models/edge/edge.bedside")).unwrap();
    edge.verify().unwrap();
}

#[test]
fn p_16_operators_are_of_a_list_and_graphs_hold_no_graphs() {
    check(&graph(|g| g.node("Relu", &["x"], "y", &[])).model(17)).unwrap();
    for operator in [
        "Loop",
        "If",
        "Scan",
        "RandomNormal",
        "StringConcat",
        "relu",
        "",
    ] {
        refused(
            |g| g.node(operator, &["x"], "y", &[]),
            &format!("operator {operator},"),
        );
    }
    let node = |extra: &[u8]| {
        let named = [bytes(1, b"x"), bytes(2, b"y"), bytes(4, b"Relu")];
        [&named.concat(), extra].concat()
    };
    let other = node(&bytes(7, b"com.example"));
    refused(|g| g.field(1, &other), "operator com.example.Relu");
    for nested in [6, 11, 22, 23] {
        let attribute = [bytes(1, b"body"), bytes(nested, b"")].concat();
        refused(|g| g.field(1, &node(&bytes(5, &attribute))), "subgraphs");
    }
    refused(|g| g.field(15, b""), "sparse");
    let plain = graph(|g| g.node("Relu", &["x"], "y", &[]));
    for (opset, words) in [(12, "operator set 12"), (22, "operator set 22")] {
        refused_model(&plain.model(opset), words);
    }
    refused_model(&[plain.model(17), bytes(25, b"")].concat(), "functions");
    refused_model(&[plain.model(17), bytes(20, b"")].concat(), "training");
    let other = [bytes(1, b"com.example"), number(2, 17)].concat();
    let whole = plain.model(17);
    let import = bytes(8, &[bytes(1, b""), number(2, 17)].concat());
    let without = &whole[..whole.len() - import.len()];
    refused_model(&[without, &bytes(8, &other)].concat(), "does not say");
}

#[test]
fn p_16_nodes_their_chains_and_expressions_of_sizes_are_bounded() {
    check(&graph(|g| chain(g, &["Relu", "Neg"], 4096)).model(17)).unwrap();
    refused(
        |g| chain(g, &["Relu", "Neg"], 4097),
        "4096 nodes one behind",
    );
    let wide = |count: usize| {
        move |g: &mut Graph| {
            for at in 1..count {
                g.node("Relu", &["x"], &format!("t{at}"), &[]);
            }
            g.node("Relu", &["x"], "y", &[]);
        }
    };
    check(&graph(wide(16_384)).model(17)).unwrap();
    refused(wide(16_385), "more than 16384 nodes");
    let many: Vec<&str> = vec!["x"; 1025];
    refused(
        |g| g.node("Concat", &many, "y", &[]),
        "more than 1024 inputs",
    );
    check(&graph(|g| size(g, 32)).model(17)).unwrap();
    refused(|g| size(g, 33), "more than 32 operations");
    // Terms that double.
    refused(
        |g| {
            g.node("Shape", &["x"], "s0", &[]);
            for at in 0..6 {
                let (from, to) = (format!("s{at}"), format!("s{}", at + 1));
                g.node("Mul", &[&from, &from], &to, &[]);
            }
            g.node("Expand", &["x", "s6"], "y", &[]);
        },
        "more than 32 operations",
    );
    // A size that was a real for a moment, or the shape of another tensor.
    refused(
        |g| {
            g.initializer(&onnx::integers("three", &[3]));
            g.node("Shape", &["x"], "s0", &[]);
            for at in 0..33 {
                let [a, b, c] = [0, 1, 2].map(|n| format!("s{}", 3 * at + n));
                let next = format!("s{}", 3 * at + 3);
                g.node("Add", &[&a, "three"], &b, &[]);
                g.node("ConstantOfShape", &[&b], &c, &[]);
                g.node("Shape", &[&c], &next, &[]);
            }
            g.node("Expand", &["x", "s99"], "y", &[]);
        },
        "more than 32 operations",
    );
}

#[test]
fn p_16_a_tensor_has_the_values_that_its_shape_asks_for() {
    let relu = |g: &mut Graph| g.node("Relu", &["x"], "y", &[]);
    let constant = |shape: &[u64], raw: &[u8]| onnx::tensor("c", Element::F32, shape, raw);
    for shape in [&[2][..], &[1, 2, 1], &[0, 1 << 20], &[]] {
        let tensor = constant(shape, &[0; 8]);
        check(&graph(|g| (g.initializer(&tensor), relu(g)).1).model(17)).unwrap();
    }
    for (shape, words) in [
        (&[1 << 20][..], "fewer values"),
        (&[1 << 31], "can't be"),
        (&[1 << 20, 1 << 20], "can't be"),
        (&[u64::MAX], "can't be"),
        (&[0, 1 << 40], "can't be"),
        (&[1; 9], "can't be"),
    ] {
        let tensor = constant(shape, &[0; 8]);
        refused(|g| (g.initializer(&tensor), relu(g)).1, words);
        let value = [bytes(1, b"value"), bytes(5, &tensor)].concat();
        refused(
            |g| (g.node("Constant", &[], "k", &[value]), relu(g)).1,
            words,
        );
    }
    let texts = [
        number(1, 1),
        number(2, 8),
        bytes(8, b"c"),
        bytes(6, b"text"),
    ]
    .concat();
    refused(|g| (g.initializer(&texts), relu(g)).1, "texts");
    let huge = onnx::end("x1", Element::F32, &["1048576", "1048576"]);
    refused(|g| (g.field(13, &huge), relu(g)).1, "can't be");
}

#[test]
fn p_16_a_graph_takes_and_gives_what_the_manifest_states() {
    let ends = |input: &[u8], output: &[u8]| {
        let mut graph = Graph::default();
        graph.input(input);
        graph.output(output);
        graph.node("Relu", &["x"], "y", &[]);
        graph.model(17)
    };
    let end = onnx::end;
    let (x, y) = (
        end("x", Element::F32, &["2"]),
        end("y", Element::F32, &["2"]),
    );
    check(&ends(&x, &y)).unwrap();
    for wrong in [
        end("x", Element::I64, &["2"]),
        end("x", Element::F32, &["3"]),
        end("x", Element::F32, &["2", "1"]),
        end("z", Element::F32, &["2"]),
    ] {
        refused_model(&ends(&wrong, &y), "is not 'x' f32 [2]");
    }
    refused_model(
        &ends(&x, &end("y", Element::F32, &["3"])),
        "is not 'y' f32 [2]",
    );
    refused(
        |g| (g.input(&x), g.node("Relu", &["x"], "y", &[])).1,
        "twice",
    );
    let more = end("w", Element::F32, &["2"]);
    refused(
        |g| (g.input(&more), g.node("Relu", &["x"], "y", &[])).1,
        "has 2 inputs",
    );
    refused(|_| {}, "does not make \"y\"");
    refused(
        |g| g.node("Relu", &["later"], "y", &[]),
        "before it is made",
    );
    refused(
        |g| {
            g.node("Relu", &["x"], "y", &[]);
            g.node("Relu", &["x"], "y", &[]);
        },
        "makes \"y\" twice",
    );
}
