"use strict";

// Whoever has the address that the command printed may change the session; this tab keeps that,
// and the address bar shows it no longer.
const printed = new URLSearchParams(location.hash.slice(1)).get("token");
if (printed) {
  sessionStorage.setItem("token", printed);
  history.replaceState(null, "", location.pathname);
}
const token = printed ?? sessionStorage.getItem("token");
const RIGHTS = token ? { Authorization: `Bearer ${token}` } : {};

const at = id => document.getElementById(id);
const POLL_MS = 250;      // time between two looks at the session
const LATE_MS = 2000;     // a picture or status older than this is not live
const SAMPLES = 240;      // of each chart: a minute

const REASONS = {
  "slow": "Passes of the model take longer than their target.",
  "fewer-prompts": "Prompts take turns, so that each pass meets its target.",
  "hot": "The device is hot: fewer passes are made.",
  "off": "Inference is switched off. The video goes on.",
  "no-signal": "The picture is black or of one colour.",
  "test-pattern": "The picture is a test pattern.",
  "out-of-body": "The endoscope is outside the body.",
  "frozen": "The picture is frozen. It is not live.",
  "input": "No new picture comes from the source.",
  "inference": "The model does not answer.",
  "load": "The model could not be loaded.",
  "restarts-spent": "The backend failed too often.",
  "self-test": "The model's self-test failed on this device.",
};
const SENTENCES = {
  starting: "No answer of the model yet.",
  active: "Answers come, and come in time.",
  cut: "bedside does not answer: what stands here is old.",
  late: "No new picture reaches this page.",
};
// One shape for each state, so that colour is not all that tells them apart.
const ICONS = {
  starting: "M12 4a8 8 0 1 0 8 8",
  active: "M4 13l5 5L20 6",
  degraded: "M12 3L22 20H2ZM12 10v4M12 17v.1",
  paused: "M8 4v16M16 4v16",
  stalled: "M5 5h14v14H5Z",
  fault: "M5 5l14 14M19 5L5 19",
  cut: "M2 12h6M16 12h6M10 7l4 10",
};

let status = null;        // the newest of /status
let statusAt = -Infinity;
let pictureAt = -Infinity;
let maxAge = 500;
let pictureTrouble = "";

// ---- state ----

function live(now) {
  if (now - statusAt > LATE_MS) return ["cut", "no contact", SENTENCES.cut];
  const { state, reason } = status.frame;
  const flowing = state !== "stalled" && state !== "fault" && state !== "starting";
  if (flowing && !pictureTrouble && now - pictureAt > LATE_MS) return ["stalled", "no picture", SENTENCES.late];
  return [state, state, REASONS[reason] ?? SENTENCES[state] ?? reason];
}

function showState() {
  const now = performance.now();
  const [kind, word, sentence] = live(now);
  document.body.dataset.state = kind;
  put("state", word);
  put("reason", sentence);
  at("icon").setAttribute("d", ICONS[kind] ?? ICONS.fault);
  document.title = `${word} - bedside live`;
  const old = now - pictureAt > LATE_MS || kind === "cut" || kind === "stalled" && status?.frame.reason === "input";
  at("veil").hidden = !old;
  put("veil", pictureTrouble || (pictureAt === -Infinity ? "waiting for a picture" : "picture is not live"));
}

function put(id, text) {
  if (at(id).textContent !== text) at(id).textContent = text;
}

async function poll() {
  try {
    const answer = await fetch("/status", { headers: RIGHTS, signal: AbortSignal.timeout(LATE_MS) });
    if (!answer.ok) throw new Error((await answer.json()).error);
    status = await answer.json();
    statusAt = performance.now();
    showFigures();
    showPrompts();
  } catch { /* the age of the last one tells */ }
  showState();
  setTimeout(poll, POLL_MS);
}

// ---- picture: parts of a head and a JPEG, see /picture ----

async function* parts(reader) {
  let bytes = new Uint8Array(0);
  const decoder = new TextDecoder();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const joined = new Uint8Array(bytes.length + value.length);
    joined.set(bytes);
    joined.set(value, bytes.length);
    bytes = joined;
    for (;;) {
      const head = decoder.decode(bytes.subarray(0, 300));
      const end = head.indexOf("\r\n\r\n");
      const length = Number(/Content-Length: (\d+)/.exec(head)?.[1]);
      if (end < 0 || bytes.length < end + 4 + length + 2) break;
      const captured = Number(/X-Captured-Ns: (\d+)/.exec(head)?.[1]);
      yield { jpeg: bytes.slice(end + 4, end + 4 + length), captured };
      bytes = bytes.slice(end + 4 + length + 2);
    }
  }
}

async function pictures() {
  const canvas = at("picture"), context = canvas.getContext("2d");
  for (;;) {
    const ended = new AbortController();
    try {
      const answer = await fetch("/picture", { signal: ended.signal });
      if (!answer.ok) throw new Error((await answer.json()).error);
      for await (const { jpeg, captured } of parts(answer.body.getReader())) {
        pictureTrouble = "";
        // Pictures that wait in a slow network are not live: begin again with the newest.
        if (status && status.frame.captured_ns - captured > LATE_MS * 1e6) break;
        const image = await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));
        if (canvas.width !== image.width || canvas.height !== image.height) {
          [canvas.width, canvas.height] = [image.width, image.height];
        }
        context.drawImage(image, 0, 0);
        image.close();
        pictureAt = performance.now();
      }
    } catch (error) {
      pictureTrouble = error instanceof TypeError ? "" : error.message;
    }
    ended.abort();
    await new Promise(resolve => setTimeout(resolve, 1000));
  }
}

// ---- figures ----

const charts = {};

/// Add a sample to a chart and draw it; null is a gap, `limit` a line.
function chart(id, value, text, limit) {
  put(id, text);
  const samples = charts[id] ??= [];
  samples.push(value);
  if (samples.length > SAMPLES) samples.shift();
  const canvas = at(`${id}-chart`), scale = devicePixelRatio;
  const width = canvas.width = canvas.clientWidth * scale;
  const height = canvas.height = canvas.clientHeight * scale;
  const top = Math.max(...samples, limit ?? 0, 1e-9) * 1.1;
  const y = v => height - 2 - (v / top) * (height - 4);
  const context = canvas.getContext("2d");
  if (limit) {
    context.strokeStyle = "#f0bd45";
    context.setLineDash([4 * scale, 4 * scale]);
    context.beginPath();
    context.moveTo(0, y(limit));
    context.lineTo(width, y(limit));
    context.stroke();
    context.setLineDash([]);
  }
  context.strokeStyle = "#8fd0ff";
  context.lineWidth = 1.5 * scale;
  context.beginPath();
  let pen = false;
  samples.forEach((v, i) => {
    const x = width - (samples.length - 1 - i) * width / (SAMPLES - 1);
    if (v !== null) pen ? context.lineTo(x, y(v)) : context.moveTo(x, y(v));
    pen = v !== null;
  });
  context.stroke();
}

const ms = (value, digits = 0) => value === null || value === undefined ? "-" : `${value.toFixed(digits)} ms`;

function showFigures() {
  const { frame, counts, latency } = status;
  const ages = frame.masks.map(mask => mask.age_us / 1000);
  const age = ages.length ? Math.max(...ages) : null;
  chart("age", age, ms(age), maxAge);
  chart("delay", frame.delay_us / 1000, ms(frame.delay_us / 1000, 1));
  chart("frames", status.frames_per_second, status.frames_per_second.toFixed(1));
  chart("masks", status.masks_per_second, status.masks_per_second.toFixed(1));
  list("counts", {
    "Dropped": counts.dropped, "Pass, median": ms(latency.inference?.p50_ms),
    "Failed": counts.failed, "Glass to mask": ms(latency.glass_to_mask?.p50_ms),
    "Shown": counts.shown, "of 99 %, within": ms(latency.glass_to_mask?.p99_ms),
  });
}

function list(id, entries) {
  const rows = Object.entries(entries).map(([name, value]) => {
    const row = document.createElement("div");
    row.append(element("dt", name), element("dd", String(value)));
    return row;
  });
  at(id).replaceChildren(...rows);
}

function element(kind, text) {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
}

// ---- prompts ----

let offers = [];
let listed = null;        // what the boxes were made for
let refusal = "";

function showPrompts() {
  const { frame, asked, on, may_change } = status;
  const answers = frame.state === "active" || frame.state === "degraded";
  at("findings").replaceChildren(...asked.map(text => {
    const mask = frame.masks.find(m => m.prompt === text);
    const row = document.createElement("li");
    const found = !answers ? "no current answer"
      : mask ? `found, ${ms(mask.age_us / 1000)} old`
      : frame.absent.includes(text) ? "not present"
      : frame.uncertain.includes(text) ? "withheld, the picture says why" : "no current answer";
    row.append(element("b", text), element("span", found));
    return row;
  }));
  const outputs = status.outputs.filter(output => output.condition !== "well");
  const trouble = outputs.map(output => `${output.output} ${output.condition}`).join(", ");
  put("message",
    refusal || status.source_message || trouble || status.model_message || "");
  at("switch").setAttribute("aria-checked", on);
  at("switch").disabled = !may_change;
  at("patient").disabled = !may_change;
  at("locked").hidden = may_change;
  for (const field of at("add").elements) field.disabled = !may_change;
  // Prompts that are no offers come first; boxes stay in place, so that the keyboard does too.
  const own = asked.filter(text => !offers.some(offer => offer.text === text));
  if (listed === null || own.some(text => !listed.includes(text))) {
    listed = [...new Set([...(listed ?? []), ...own])];
    makeBoxes();
  }
  for (const box of at("offers").querySelectorAll("input")) {
    box.checked = asked.includes(box.value);
    box.disabled = !may_change;
  }
}

function makeBoxes() {
  const groups = [["as typed", listed]];
  for (const { modality, text } of offers) {
    if (groups.at(-1)[0] !== modality) groups.push([modality, []]);
    groups.at(-1)[1].push(text);
  }
  at("offers").replaceChildren(...groups.filter(([, texts]) => texts.length).flatMap(([title, texts]) =>
    [element("h3", title), ...texts.map(text => {
      const label = document.createElement("label"), box = document.createElement("input");
      box.type = "checkbox";
      box.value = text;
      box.addEventListener("change", () => ask(text, box.checked));
      label.append(box, text);
      return label;
    })]));
}

// One after the other, so that each wish is added to what the one before has changed.
let wishes = Promise.resolve();

function ask(text, wanted) {
  const granted = wishes.then(() => {
    const others = status.asked.filter(other => other !== text);
    return send("/prompts", { prompts: wanted ? [...others, text] : others });
  });
  wishes = granted;
  return granted;
}

/// Send a wish; gives whether it was granted.
async function send(path, wish) {
  try {
    const answer = await fetch(path, {
      method: "POST", headers: { ...RIGHTS, "Content-Type": "application/json" }, body: JSON.stringify(wish),
    });
    refusal = answer.ok ? "" : (await answer.json()).error;
    const now = await fetch("/status", { headers: RIGHTS });
    if (now.ok) status = await now.json();
  } catch {
    refusal = "not sent: bedside does not answer";
  }
  showPrompts();
  return refusal === "";
}

at("switch").addEventListener("click", () => send("/switch", { on: !status.on }));
at("patient").addEventListener("click", () => send("/patient", null));
at("add").addEventListener("submit", async event => {
  event.preventDefault();
  const text = at("text").value.trim();
  if (text && await ask(text, true)) {
    at("text").value = "";
    filter();
  }
});
at("text").addEventListener("input", filter);

/// Show the boxes whose words hold what is typed.
function filter() {
  const words = at("text").value.toLowerCase().split(/\s+/);
  for (const label of at("offers").querySelectorAll("label")) {
    const text = label.textContent.toLowerCase();
    label.hidden = !words.every(word => text.includes(word));
  }
}

async function begin() {
  try {
    const { facts, offers: known } = await (await fetch("/facts")).json();
    offers = known;
    maxAge = facts.max_age_ms;
    at("known").replaceChildren(...offers.map(({ text }) => {
      const option = document.createElement("option");
      option.value = text;
      return option;
    }));
    list("facts", {
      "bedside": facts.bedside, "Model": facts.model, "Precision": facts.precision, "Licence": facts.licence,
      "Backend": facts.backend, "Source": facts.source, "Oldest mask": `${maxAge} ms`,
    });
  } catch {
    showState();
    setTimeout(begin, 1000);
    return;
  }
  poll();
  pictures();
}

begin();
