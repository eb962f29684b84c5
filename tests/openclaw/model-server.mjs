// An OpenAI-compatible model server on loopback, as small as the gateway lets it be. What it does is
// chosen by the name of the model that is asked for:
//
//   hang   never answers: the turn stays open, and its session lock stays held
//   text   answers "pong" at once
//   exec   asks for the exec tool to run $COMMAND, and answers "pong" to what that says
//
// It picks a free port itself and says so on stdout ("port N"), and it prints one line for each turn
// ("asked MODEL"), so that a test can wait for the turn instead of guessing. It lives as long as its
// stdin: when the test is gone, however it went, so is this.
import http from "node:http";

function say(line) {
  process.stdout.write(`${line}\n`);
}

async function readJson(request) {
  let body = "";
  for await (const part of request) body += part;
  return JSON.parse(body);
}

function completion(model, choice, extra = {}) {
  return { id: "c1", object: "chat.completion", created: 1, model, choices: [{ index: 0, ...choice }], ...extra };
}

function streamText(response, model) {
  const event = (data) => response.write(`data: ${data}\n\n`);
  const chunk = (choice) =>
    event(JSON.stringify({ ...completion(model, choice), object: "chat.completion.chunk" }));
  response.writeHead(200, { "content-type": "text/event-stream" });
  chunk({ delta: { role: "assistant", content: "pong" }, finish_reason: null });
  chunk({ delta: {}, finish_reason: "stop" });
  event("[DONE]");
  response.end();
}

function streamCall(response, model) {
  const call = { name: "exec", arguments: JSON.stringify({ command: process.env.COMMAND }) };
  const chunk = (choice) =>
    response.write(`data: ${JSON.stringify({ ...completion(model, choice), object: "chat.completion.chunk" })}\n\n`);
  response.writeHead(200, { "content-type": "text/event-stream" });
  const toolCalls = [{ index: 0, id: "call_1", type: "function", function: call }];
  chunk({ delta: { role: "assistant", tool_calls: toolCalls }, finish_reason: null });
  chunk({ delta: {}, finish_reason: "tool_calls" });
  response.end("data: [DONE]\n\n");
}

function sendText(response, model) {
  const message = { role: "assistant", content: "pong" };
  const usage = { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 };
  response.writeHead(200, { "content-type": "application/json" });
  response.end(JSON.stringify(completion(model, { message, finish_reason: "stop" }, { usage })));
}

const server = http.createServer(async (request, response) => {
  if (request.method !== "POST") return response.writeHead(404).end();
  const { model, stream, messages } = await readJson(request);
  say(`asked ${model}`);
  if (model === "hang") return;
  if (model === "exec" && messages.at(-1).role !== "tool") return streamCall(response, model);
  if (stream) streamText(response, model);
  else sendText(response, model);
});

server.requestTimeout = 0; // a turn that hangs must hang because of us, and never because Node gave up on it
server.listen(0, "127.0.0.1", () => say(`port ${server.address().port}`));
process.stdin.resume().on("end", () => process.exit(0));
