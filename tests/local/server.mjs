// What `npm run dev` of a project starts: a server on $HOST:3000, and a worker in a session of its own on $HOST:3001,
// as bundlers have them, that no key of the terminal reaches. STUBBORN=1 makes the server deaf to INT.
import { spawn } from "node:child_process";
import { createServer } from "node:http";

const worker = process.argv[2] === "worker";
const ready = () => {
    if (worker) return process.send("up");
    console.log("listening");
};
const listen = () => createServer((_, answer) => answer.end()).listen(worker ? 3001 : 3000, process.env.HOST, ready);

if (worker) {
    listen();
} else {
    process.on("SIGINT", () => {
        if (process.env.STUBBORN) return console.log("not now");
        console.log("closing");
        setTimeout(() => { console.log("closed"); process.exit(7); }, 100);
    });
    const options = { detached: true, stdio: ["ignore", "ignore", "ignore", "ipc"] };
    const child = spawn(process.execPath, [process.argv[1], "worker"], options);
    child.once("message", () => { child.disconnect(); child.unref(); listen(); });
}
