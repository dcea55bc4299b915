import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A running plugin.ts with a folder of its own. */
export interface TestPlugin extends AsyncDisposable {
  /** Holds the sockets. */
  readonly folder: string;
  /** Where it keeps its volumes. */
  readonly root: string;
  /** Calls it had, in order: method and request. */
  calls(prefix?: string): { method: string; request: Record<string, unknown> }[];
  /** What it does from now on instead of answering `method`; undefined: it behaves again. */
  fault(method: string, what: "hang" | "flood" | "drop" | { status: number; body: string } | undefined): void;
  stop(): Promise<void>;
  start(): Promise<void>;
}

/** `launcher`: a prefix that runs it elsewhere; `folder`: an empty one that is its own. */
export async function startPlugin(
  name = "tested",
  { launcher = [], folder = mkdtempSync(join(tmpdir(), "berth-plugin-")) }: { launcher?: string[]; folder?: string } = {},
): Promise<TestPlugin> {
  const root = join(folder, "root");
  const socket = join(folder, "sockets", `${name}.sock`);
  mkdirSync(join(folder, "sockets"));
  let child: Bun.Subprocess<"ignore", "pipe", "inherit"> | undefined;
  const plugin: TestPlugin = {
    folder: join(folder, "sockets"),
    root,
    calls(prefix = "") {
      const log = join(root, "log");
      const lines = existsSync(log) ? readFileSync(log, "utf8").split("\n") : [];
      return lines
        .filter((line) => line.startsWith(prefix) && line !== "")
        .map((line) => {
          const [method = "", text = ""] = [line.slice(0, line.indexOf(" ")), line.slice(line.indexOf(" ") + 1)];
          return { method, request: text === "" ? {} : (JSON.parse(text) as Record<string, unknown>) };
        });
    },
    fault(method, what) {
      const file = join(root, "faults", method);
      if (what === undefined) unlinkSync(file);
      else writeFileSync(file, typeof what === "string" ? what : JSON.stringify(what));
    },
    async start() {
      child = Bun.spawn([...launcher, process.execPath, join(import.meta.dir, "plugin.ts"), socket, root], {
        stdin: "ignore",
        stdout: "pipe",
        stderr: "inherit",
      });
      const { value } = await child.stdout.getReader().read();
      if (
        !Buffer.from(value ?? [])
          .toString()
          .startsWith("ready")
      )
        throw new Error("the plugin did not start");
    },
    async stop() {
      child?.kill("SIGKILL");
      await child?.exited;
      rmSync(socket, { force: true });
    },
    async [Symbol.asyncDispose]() {
      await plugin.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
  await plugin.start();
  return plugin;
}
