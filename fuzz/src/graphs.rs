//! Graphs that bytes choose: sound ones, by our operators and by tract alone, and hostile ones.

use bedside::engine::{
    Backend, DType, Dim, LoadOptions, Session, Signature, TensorSpec, TractCpu, TractStock, Value,
};

use crate::engine::session;
use crate::mutate::Random;
use crate::onnx::{self, Element, Graph};

/// The decoder of the command's tiny bundle, whose score goes through what `between` adds from `first` to `score`.
pub fn decoder(between: impl FnOnce(&mut Graph)) -> Vec<u8> {
    let mut graph = Graph::default();
    graph.input(&onnx::end("pixels", Element::F32, &["1", "3", "8", "8"]));
    graph.input(&onnx::end("tokens", Element::F32, &["P", "T", "4"]));
    graph.input(&onnx::end("token_mask", Element::F32, &["P", "T"]));
    graph.output(&onnx::end("logits", Element::F32, &["P", "8", "8"]));
    graph.output(&onnx::end("score", Element::F32, &["P"]));
    let lists: [(&str, &[i64]); 7] = [
        ("zero", &[0]),
        ("one", &[1]),
        ("two", &[2]),
        ("three", &[3]),
        ("four", &[4]),
        ("flat", &[3, 64]),
        ("square", &[-1, 8, 8]),
    ];
    for (name, values) in lists {
        graph.initializer(&onnx::integers(name, values));
    }
    let flat = &[onnx::int("keepdims", 0)];
    graph.node("Unsqueeze", &["token_mask", "two"], "weights", &[]);
    graph.node("Mul", &["tokens", "weights"], "masked", &[]);
    graph.node("ReduceSum", &["masked", "one"], "token", flat);
    graph.node("Slice", &["token", "zero", "three", "one"], "colour", &[]);
    graph.node("Slice", &["token", "three", "four", "one"], "bias", &[]);
    graph.node("Reshape", &["pixels", "flat"], "cells", &[]);
    graph.node("MatMul", &["colour", "cells"], "products", &[]);
    graph.node("Add", &["products", "bias"], "sums", &[]);
    graph.node("Reshape", &["sums", "square"], "logits", &[]);
    let inner = &[onnx::ints("axes", &[1, 2]), onnx::int("keepdims", 0)];
    graph.node("ReduceMax", &["logits"], "first", inner);
    between(&mut graph);
    graph.model(17)
}

/// A decoder with nodes that the bytes choose: of operators that bundles may have, with any inputs
/// and attributes. No exporter would write them, and the engine still answers or says why not.
pub fn nodes(data: &[u8]) {
    let mut choice = Choice::new(data);
    session(&decoder(|graph| hostile(graph, &mut choice)));
}

/// Operators whose answers' sizes depend on more than their inputs' sizes, or that are seldom.
const HOSTILE: [&str; 46] = [
    "ArgMax",
    "AveragePool",
    "Cast",
    "Concat",
    "ConstantOfShape",
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "CumSum",
    "DepthToSpace",
    "DequantizeLinear",
    "Div",
    "DynamicQuantizeLinear",
    "Einsum",
    "Expand",
    "Flatten",
    "Gather",
    "GatherElements",
    "GatherND",
    "Gemm",
    "GlobalAveragePool",
    "InstanceNormalization",
    "LayerNormalization",
    "MatMul",
    "MatMulInteger",
    "MaxPool",
    "Mod",
    "Mul",
    "Pad",
    "Pow",
    "QLinearMatMul",
    "QuantizeLinear",
    "Range",
    "ReduceProd",
    "Reshape",
    "Resize",
    "ScatterElements",
    "ScatterND",
    "Shape",
    "Slice",
    "Softmax",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "TopK",
    "Transpose",
];

fn hostile(graph: &mut Graph, choice: &mut Choice<'_>) {
    const EDGES: [i64; 10] = [-1, 0, 1, 2, 3, 4, 8, -2, i64::MAX, i64::MIN];
    let edge = |choice: &mut Choice<'_>| EDGES[choice.of(EDGES.len())];
    let mut names: Vec<String> = [
        "pixels",
        "tokens",
        "token_mask",
        "logits",
        "first",
        "token",
        "zero",
        "three",
    ]
    .map(str::to_owned)
    .to_vec();
    graph.initializer(&onnx::scalar("byte", Element::U8, &[3]));
    graph.initializer(&onnx::reals("real", &[], &[0.5]));
    graph.initializer(&onnx::reals("kernel", &[2, 3, 2, 2], &[0.25; 24]));
    graph.initializer(&onnx::reals("nothing", &[], &[0.0]));
    names.extend(["byte", "real", "kernel", ""].map(str::to_owned));
    for at in 0..2 {
        let values: Vec<i64> = (0..choice.of(5)).map(|_| edge(choice)).collect();
        graph.initializer(&onnx::integers(&format!("list{at}"), &values));
        names.push(format!("list{at}"));
    }
    let mut last = "first".to_owned();
    for at in 0..1 + choice.of(4) {
        let mut inputs = vec![last];
        for _ in 0..choice.of(4) {
            inputs.push(names[choice.of(names.len())].clone());
        }
        let first = choice.of(inputs.len());
        inputs.swap(0, first);
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let mut attributes = Vec::new();
        for _ in 0..choice.of(4) {
            let values: Vec<i64> = (0..choice.of(5)).map(|_| edge(choice)).collect();
            let name = [
                "axes",
                "perm",
                "kernel_shape",
                "pads",
                "strides",
                "dilations",
                "split",
            ];
            attributes.push(match choice.of(5) {
                0 => onnx::ints(name[choice.of(name.len())], &values),
                1 => onnx::text("mode", ["edge", "linear", "cubic", "DCR"][choice.of(4)]),
                2 => onnx::text(
                    "equation",
                    ["ij,jk", "...i->i", "ii->i", "a,b->ab"][choice.of(4)],
                ),
                _ => {
                    let name = [
                        "axis",
                        "group",
                        "to",
                        "keepdims",
                        "blocksize",
                        "batch_dims",
                        "ceil_mode",
                    ];
                    onnx::int(name[choice.of(name.len())], edge(choice))
                }
            });
        }
        last = format!("node{at}");
        let operator = HOSTILE[choice.of(HOSTILE.len())];
        graph.node(operator, &inputs, &last, &attributes);
        names.push(last.clone());
    }
    // Of any shape and type, it adds nothing to the score.
    graph.node("Cast", &[&last], "cast", &[onnx::int("to", 1)]);
    graph.node("Mul", &["cast", "nothing"], "zeros", &[]);
    graph.node("ReduceSum", &["zeros"], "sum", &[onnx::int("keepdims", 0)]);
    graph.node("Add", &["first", "sum"], "score", &[]);
}

/// A small graph that the bytes choose: what our operators make of it is what tract makes of it.
pub fn lower(data: &[u8]) {
    let mut choice = Choice::new(data);
    let network = match choice.of(3) {
        0 => Network::of_rows(&mut choice),
        _ => Network::of_images(&mut choice),
    };
    let Network {
        input,
        output,
        batched,
        ..
    } = &network;
    let spec = |name: &str, shape: &[usize]| TensorSpec {
        name: name.to_owned(),
        dtype: DType::F32,
        shape: (0..)
            .zip(shape)
            .map(|(at, n)| match at == 0 && *batched {
                true => Dim::Symbol("P".to_owned()),
                false => Dim::Fixed(*n),
            })
            .collect(),
    };
    let signature = Signature {
        inputs: vec![spec("x", input)],
        outputs: vec![spec("y", output)],
    };
    let model = network.model().into();
    let options = LoadOptions::new("g.onnx", signature);
    let mut stock = TractStock.load(&model, &options).expect("tract loads it");
    let mut own = TractCpu
        .load(&model, &options)
        .expect("our operators load it");
    let batches: &[usize] = if *batched { &[1, 3] } else { &[1] };
    for batch in batches {
        let mut shape = input.clone();
        shape[0] *= batch;
        let values = choice.reals(shape.iter().product(), 2.0);
        let values = [Value::f32(&shape, &values).expect("a value")];
        let run = |session: &mut Box<dyn Session>| {
            let outputs = session.run(&values).expect("a run");
            outputs[0].to_f32().expect("reals").into_owned()
        };
        let (own, stock) = (run(&mut own), run(&mut stock));
        assert_eq!(own.len(), stock.len());
        let largest = stock.iter().fold(1.0f32, |most, v| most.max(v.abs()));
        for (at, (a, b)) in own.iter().zip(&stock).enumerate() {
            // Not by `>`: NaN is no answer.
            let near = (a - b).abs() <= 1e-3 * largest;
            assert!(near, "{at} of {}: {a}, by tract {b}", own.len());
        }
    }
}

/// A chain of operators from x to y.
struct Network {
    graph: Graph,
    input: Vec<usize>,
    output: Vec<usize>,
    batched: bool,
    last: String,
    nodes: usize,
}

impl Network {
    fn new(input: &[usize], batched: bool) -> Self {
        Self {
            graph: Graph::default(),
            input: input.to_vec(),
            output: input.to_vec(),
            batched,
            last: "x".to_owned(),
            nodes: 0,
        }
    }

    fn model(&self) -> Vec<u8> {
        let mut graph = self.graph.clone();
        let ends = |shape: &[usize]| -> Vec<String> {
            let mut ends: Vec<String> = shape.iter().map(usize::to_string).collect();
            if self.batched {
                ends[0] = "P".to_owned();
            }
            ends
        };
        let (input, output) = (ends(&self.input), ends(&self.output));
        let input: Vec<&str> = input.iter().map(String::as_str).collect();
        let output: Vec<&str> = output.iter().map(String::as_str).collect();
        graph.input(&onnx::end("x", Element::F32, &input));
        graph.output(&onnx::end("y", Element::F32, &output));
        graph.node("Identity", &[&self.last], "y", &[]);
        graph.model(17)
    }

    fn name(&mut self) -> String {
        self.nodes += 1;
        format!("t{}", self.nodes)
    }

    /// A constant of this shape.
    fn constant(&mut self, shape: &[usize], values: &[f32]) -> String {
        let name = self.name();
        let shape: Vec<u64> = shape.iter().map(|n| *n as u64).collect();
        self.graph.initializer(&onnx::reals(&name, &shape, values));
        name
    }

    /// A node that reads `inputs`.
    fn node(&mut self, operator: &str, inputs: &[&str], attributes: &[Vec<u8>]) -> String {
        let name = self.name();
        self.graph.node(operator, inputs, &name, attributes);
        name
    }

    /// A node behind the last, beside constants.
    fn then(&mut self, operator: &str, others: &[&str], attributes: &[Vec<u8>]) {
        let last = self.last.clone();
        let inputs: Vec<&str> = [last.as_str()]
            .into_iter()
            .chain(others.iter().copied())
            .collect();
        self.last = self.node(operator, &inputs, attributes);
    }

    fn scalar(&mut self, operator: &str, value: f32) {
        let constant = self.constant(&[], &[value]);
        self.then(operator, &[&constant], &[]);
    }

    /// GELU as exporters write it.
    fn gelu(&mut self) {
        let before = self.last.clone();
        self.scalar("Div", std::f32::consts::SQRT_2);
        self.then("Erf", &[], &[]);
        self.scalar("Add", 1.0);
        self.then("Mul", &[&before], &[]);
        self.scalar("Mul", 0.5);
    }

    /// Images [1, channels, h, w].
    fn of_images(choice: &mut Choice<'_>) -> Self {
        let [channels, h, w] = [1 + choice.of(20), 1 + choice.of(14), 1 + choice.of(14)];
        let mut network = Self::new(&[1, channels, h, w], false);
        // What a sum may add: an activation and its shape.
        let mut kept = (network.last.clone(), network.output.clone());
        for _ in 0..1 + choice.of(7) {
            let [channels, h, w] = [network.output[1], network.output[2], network.output[3]];
            match choice.of(9) {
                0..3 => network.convolution(choice),
                3 => network.then("Relu", &[], &[]),
                4 => {
                    let low = network.constant(&[], &[0.0]);
                    let high = network.constant(&[], &[1.5]);
                    network.then("Clip", &[&low, &high], &[]);
                }
                5 if kept.1 == network.output => network.then("Add", &[&kept.0], &[]),
                5 | 6 => {
                    let values = choice.reals(channels, 1.0);
                    let values = network.constant(&[1, channels, 1, 1], &values);
                    network.then(["Add", "Mul"][choice.of(2)], &[&values], &[]);
                }
                7 if h * w <= 200 => {
                    let scales = network.constant(&[4], &[1.0, 1.0, 2.0, 2.0]);
                    let nearest = [
                        onnx::text("mode", "nearest"),
                        onnx::text("coordinate_transformation_mode", "asymmetric"),
                        onnx::text("nearest_mode", "floor"),
                    ];
                    network.then("Resize", &["", &scales], &nearest);
                    network.output = vec![1, channels, 2 * h, 2 * w];
                }
                _ => network.gelu(),
            }
            if choice.of(3) == 0 {
                kept = (network.last.clone(), network.output.clone());
            }
        }
        network
    }

    fn convolution(&mut self, choice: &mut Choice<'_>) {
        let [channels, h, w] = [self.output[1], self.output[2], self.output[3]];
        let depthwise = channels > 1 && choice.of(3) == 0;
        let out = if depthwise {
            channels
        } else {
            1 + choice.of(40)
        };
        let kernel = [1 + choice.of(h.min(5)), 1 + choice.of(w.min(5))];
        let stride = [1 + choice.of(2), 1 + choice.of(2)];
        let pads = [
            choice.of(kernel[0]),
            choice.of(kernel[1]),
            choice.of(kernel[0]),
            choice.of(kernel[1]),
        ];
        let group = if depthwise { channels } else { 1 };
        let shape = [out, channels / group, kernel[0], kernel[1]];
        let count: usize = shape.iter().product();
        let depth = count / out;
        let weights = choice.reals(count, 1.5 / (depth as f32).sqrt());
        let weights = self.constant(&shape, &weights);
        let biased = choice.of(2) == 1;
        let bias = choice.reals(out, 0.5);
        let bias = self.constant(&[out], &bias);
        let list = |name: &str, values: &[usize]| {
            let values: Vec<i64> = values.iter().map(|v| *v as i64).collect();
            onnx::ints(name, &values)
        };
        let attributes = [
            list("kernel_shape", &kernel),
            list("strides", &stride),
            list("pads", &pads),
            onnx::int("group", group as i64),
        ];
        let inputs: &[&str] = if biased {
            &[&weights, &bias]
        } else {
            &[&weights]
        };
        self.then("Conv", inputs, &attributes);
        let side =
            |n: usize, at: usize| (n + pads[at] + pads[at + 2] - kernel[at]) / stride[at] + 1;
        self.output = vec![1, out, side(h, 0), side(w, 1)];
    }

    /// Rows [P, rows, columns], as a decoder has them.
    fn of_rows(choice: &mut Choice<'_>) -> Self {
        let shape = [1, 1 + choice.of(9), 1 + choice.of(40)];
        let mut network = Self::new(&shape, true);
        for _ in 0..1 + choice.of(5) {
            let columns = network.output[2];
            let before = network.last.clone();
            match choice.of(6) {
                0 | 1 => network.projection(choice, 1.0),
                2 => network.gelu(),
                3 => {
                    let [scale, bias] = [0.5, 0.0].map(|add| {
                        choice
                            .reals(columns, 0.5)
                            .iter()
                            .map(|v| v + add)
                            .collect::<Vec<_>>()
                    });
                    let scale = network.constant(&[columns], &scale);
                    let bias = network.constant(&[columns], &bias);
                    network.then(
                        "LayerNormalization",
                        &[&scale, &bias],
                        &[onnx::int("axis", -1)],
                    );
                }
                4 => network.attention(),
                _ => {
                    network.then("Relu", &[], &[]);
                    network.then("Add", &[&before], &[]);
                }
            }
        }
        network
    }

    fn projection(&mut self, choice: &mut Choice<'_>, size: f32) {
        let (columns, out) = (self.output[2], 1 + choice.of(40));
        let weights = choice.reals(columns * out, size / (columns as f32).sqrt());
        let weights = self.constant(&[columns, out], &weights);
        self.then("MatMul", &[&weights], &[]);
        let bias = choice.reals(out, 0.5);
        let bias = self.constant(&[out], &bias);
        self.then("Add", &[&bias], &[]);
        self.output[2] = out;
    }

    /// Attention of the rows to themselves.
    fn attention(&mut self) {
        let rows = self.last.clone();
        let turned = self.node("Transpose", &[&rows], &[onnx::ints("perm", &[0, 2, 1])]);
        self.then("MatMul", &[&turned], &[]);
        self.scalar("Mul", (self.output[2] as f32).sqrt().recip());
        self.then("Softmax", &[], &[onnx::int("axis", -1)]);
        self.then("MatMul", &[&rows], &[]);
    }
}

/// Bytes as choices, random ones behind their end, which depend on all of them.
struct Choice<'a> {
    data: &'a [u8],
    random: Random,
}

impl<'a> Choice<'a> {
    fn new(data: &'a [u8]) -> Self {
        let seed = data.iter().fold(1_u64, |seed, byte| {
            seed.wrapping_mul(257).wrapping_add(u64::from(*byte))
        });
        let random = Random::new(seed);
        Self { data, random }
    }

    fn of(&mut self, count: usize) -> usize {
        match self.data.split_first() {
            Some((byte, rest)) => {
                self.data = rest;
                usize::from(*byte) % count
            }
            None => self.random.below(count),
        }
    }

    fn reals(&mut self, count: usize, most: f32) -> Vec<f32> {
        let unit = |random: &mut Random| (random.number() >> 40) as f32 / (1 << 23) as f32 - 1.0;
        (0..count).map(|_| unit(&mut self.random) * most).collect()
    }
}
