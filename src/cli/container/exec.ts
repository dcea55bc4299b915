import type { ExecCreateRequest } from "../../client/types.ts";
import { defineCommand } from "../command.ts";
import { readEnvironment } from "../parse/env.ts";
import { followWindowSize, requireTerminal, runSession } from "../streaming.ts";

export const exec = defineCommand({
  name: "container exec",
  aliases: ["exec"],
  summary: "Execute a command in a running container",
  usage: "CONTAINER COMMAND [ARG...]",
  flags: {
    detach: { type: "bool", short: "d", help: "Detached mode: run command in the background" },
    "detach-keys": { type: "string", help: "Override the key sequence for detaching a container" },
    env: { type: "list", short: "e", help: "Set environment variables" },
    "env-file": { type: "list", help: "Read in a file of environment variables" },
    interactive: { type: "bool", short: "i", help: "Keep STDIN open even if not attached" },
    privileged: { type: "bool", help: "Give extended privileges to the command" },
    tty: { type: "bool", short: "t", help: "Allocate a pseudo-TTY" },
    user: { type: "string", short: "u", help: "Username or UID (format: <name|uid>[:<group|gid>])" },
    workdir: { type: "string", short: "w", help: "Working directory inside the container" },
  },
  args: { min: 2 },
  interspersed: false,
  completes: "container",
  async run({ flags, args, client, io, config, env }) {
    const [container, ...command] = args as [string, ...string[]];
    const { detach, tty } = flags;
    const stdin = flags.interactive && !detach;
    if (!detach) requireTerminal(io, { tty, stdin });
    const detachKeys = flags["detach-keys"] || (await config.file()).detachKeys || "";
    const size = tty ? io.windowSize() : undefined;
    const consoleSize = size === undefined ? {} : { ConsoleSize: [size.rows, size.columns] as [number, number] };
    const request: ExecCreateRequest = {
      Cmd: command,
      AttachStdin: stdin,
      AttachStdout: !detach,
      AttachStderr: !detach,
      Tty: tty,
      Env: await readEnvironment(flags["env-file"], flags.env, env),
      User: flags.user,
      WorkingDir: flags.workdir,
      Privileged: flags.privileged,
      DetachKeys: detachKeys,
      ...consoleSize,
    };
    const engine = await client();
    const id = await engine.exec.create(container, request);
    if (detach) {
      await engine.exec.startDetached(id, { Tty: tty });
      return 0;
    }
    using connection = await engine.exec.attach(id, { Tty: tty, ...consoleSize });
    using _size = tty ? followWindowSize(io, (to) => engine.exec.resize(id, to)) : undefined;
    const end = await runSession(connection, io, { tty, stdin, stdout: true, stderr: true, detachKeys });
    if (end === "detached") return 0;
    return (await engine.exec.inspect(id)).ExitCode ?? 0;
  },
});
