// Another live owner of locks, who takes them as OpenClaw does: create the file, write it, and keep its
// descriptor open for as long as the lock is held.
//
// It prints "up PID STARTTIME", reads one {"path", "text"} a line from stdin, and answers "held PATH". It
// never lets go by itself: its locks stay behind when it is killed or when its stdin ends.
import { mkdirSync, openSync, readFileSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { createInterface } from "node:readline";

const stat = readFileSync("/proc/self/stat", "utf8");
const starttime = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
process.stdout.write(`up ${process.pid} ${starttime}\n`);

for await (const line of createInterface({ input: process.stdin })) {
  const { path, text } = JSON.parse(line);
  mkdirSync(dirname(path), { recursive: true });
  writeSync(openSync(path, "wx"), text);
  process.stdout.write(`held ${path}\n`);
}
