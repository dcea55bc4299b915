import type { Client } from "../../client/client.ts";
import { ApiError } from "../../client/errors.ts";
import type { ContainerCreateRequest } from "../../client/types.ts";
import { defineCommand, type CommandContext } from "../command.ts";
import { CliError } from "../errors.ts";
import { describe } from "../describe.ts";
import { followWindowSize, forwardSignals, requireTerminal, runSession, type SessionEnd } from "../streaming.ts";
import { createContainer } from "./create-container.ts";
import { containerFlags } from "./flags.ts";
import { createRequest } from "./request.ts";
import { startExitCode } from "./start-errors.ts";

const flags = {
  ...containerFlags,
  detach: { type: "bool", short: "d", help: "Run container in background and print container ID" },
  "detach-keys": { type: "string", help: "Override the key sequence for detaching a container" },
  "sig-proxy": { type: "bool", help: "Proxy received signals to the process", default: "true" },
} as const;

type RunContext = CommandContext<typeof flags>;

export const run = defineCommand({
  name: "container run",
  aliases: ["run"],
  summary: "Create and run a new container from an image",
  usage: "IMAGE [COMMAND] [ARG...]",
  flags,
  args: { min: 1 },
  interspersed: false,
  completes: "image",
  failureCode: 125,
  async run(context) {
    const { io, args } = context;
    const { detach, attach } = context.flags;
    if (detach && attach.length > 0) throw new CliError("conflicting options: cannot specify both --attach and --detach");
    const [image, ...command] = args as [string, ...string[]];
    const request = await createRequest({ ...context, image, command, config: await context.config.file(), windowSize: io.windowSize() });
    if (detach) Object.assign(request, { AttachStdin: false, AttachStdout: false, AttachStderr: false, StdinOnce: false });
    else requireTerminal(io, { tty: request.Tty === true, stdin: request.AttachStdin === true });

    const client = await context.client();
    const id = await createContainer(context, client, request);
    return detach ? runDetached(context, client, id) : runAttached(context, client, id, request);
  },
});

async function runDetached(context: RunContext, client: Client, id: string): Promise<number> {
  try {
    await client.containers.start(id);
  } catch (error) {
    throw startFailure(error);
  }
  await context.io.out.write(`${id}\n`);
  return 0;
}

/** Output and exit are watched before the start, so that neither can be missed however short the container's life. */
async function runAttached(context: RunContext, client: Client, id: string, request: ContainerCreateRequest): Promise<number> {
  const { io } = context;
  const tty = request.Tty === true;
  const [stdin, stdout, stderr] = [request.AttachStdin === true, request.AttachStdout === true, request.AttachStderr === true];
  const detachKeys = context.flags["detach-keys"] || (await context.config.file()).detachKeys || "";
  const started = Promise.withResolvers<void>();
  started.promise.catch(() => {});
  using _signals = context.flags["sig-proxy"] ? forwardSignals(started.promise, (signal) => client.containers.kill(id, signal)) : undefined;
  const attaches = stdin || stdout || stderr;
  const [waiter, connection] = await Promise.all([
    client.containers.wait(id, context.flags.rm ? "removed" : "next-exit"),
    attaches ? client.containers.attach(id, { stream: true, stdin, stdout, stderr, detachKeys }) : undefined,
  ]);
  using _connection = connection;
  const session = connection === undefined ? Promise.resolve<SessionEnd>("closed") : runSession(connection, io, { tty, stdin, stdout, stderr, detachKeys });
  session.catch(() => {});

  try {
    await client.containers.start(id);
    started.resolve();
  } catch (error) {
    started.reject(error);
    // The session must have put the terminal back before anything is printed on it.
    connection?.[Symbol.dispose]();
    await session.catch(() => {});
    if (context.flags.rm) await Promise.race([waiter.result.catch(() => {}), Bun.sleep(10_000)]);
    throw startFailure(error);
  }
  // With only the input attached nothing else would say which container it is.
  if (!stdout && !stderr) await io.out.write(`${id}\n`);
  using _size = tty ? followWindowSize(io, (size) => client.containers.resize(id, size)) : undefined;
  if ((await session) === "detached") return 0;
  const { StatusCode: code, Error: failure } = await waiter.result;
  if (failure?.Message) throw new CliError(failure.Message);
  return code;
}

function startFailure(error: unknown): unknown {
  return error instanceof ApiError ? new CliError(describe(error), startExitCode(error)) : error;
}
