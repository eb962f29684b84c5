// A gateway's stand-in that is Node, as the real one is: it listens when the file `go` is in its directory, and has a
// child in a session of its own that does not heed TERM, unless MEEK=1. GET /readyz says that it is well, /block blocks
// the event loop for ever, and /exit/N ends with N.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createServer } from "node:http";

const deaf = "trap '' TERM; while :; do sleep 1000; done";
if (!process.env.MEEK) spawn("bash", ["-c", deaf], { detached: true, stdio: "ignore" }).unref();
process.on("SIGTERM", () => process.exit(0));

const server = createServer((request, response) => {
    const [, what, code] = request.url.split("/");
    response.end(JSON.stringify({ ready: true, pid: process.pid }));
    if (what === "exit") response.on("close", () => process.exit(Number(code)));
    if (what === "block") response.on("close", () => { for (;;); });
});
const waiting = setInterval(() => {
    if (!existsSync("go")) return;
    clearInterval(waiting);
    server.listen(18789, "127.0.0.1", () => console.log("listening"));
}, 20);
