import type { AuthConfig } from "../../client/types.ts";
import { defineCommand } from "../command.ts";
import { readLine } from "../confirm.ts";
import { hostOf, hubServer, readCredentials, storeCredentials } from "../credentials.ts";
import { CliError } from "../errors.ts";
import type { Streams } from "../io.ts";

export const login = defineCommand({
  name: "login",
  summary: "Authenticate to a registry",
  usage: "[SERVER]",
  flags: {
    password: { type: "string", short: "p", help: "Password or Personal Access Token" },
    "password-stdin": { type: "bool", help: "Take the password from stdin" },
    username: { type: "string", short: "u", help: "Username" },
  },
  args: { min: 0, max: 1 },
  async run({ flags, given, args, client, io, config }) {
    const server = args[0] === undefined || ["docker.io", "index.docker.io"].includes(hostOf(args[0])) ? hubServer : hostOf(args[0]);
    if (given("password") && flags["password-stdin"]) throw new CliError("--password and --password-stdin are mutually exclusive");
    if (flags["password-stdin"] && flags.username === "") throw new CliError("Must provide --username with --password-stdin");
    if (given("password")) await io.err.write("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n");
    const stored = flags.username === "" && !given("password") ? await readCredentials(config, server) : undefined;
    const auth = { ...(stored ?? (await ask(io, flags))), serveraddress: server };
    const { Status: status, IdentityToken: token } = await (await client()).system.auth(auth);
    const keep: AuthConfig & { serveraddress: string } = token ? { username: auth.username, identitytoken: token, serveraddress: server } : auth;
    const kept = await storeCredentials(config, keep);
    if (kept === "file") {
      await io.err.write(
        `\nWARNING! Your credentials are stored unencrypted in '${config.directory}/config.json'.\nConfigure a credential helper (credsStore) to remove this warning.\n\n`,
      );
    }
    await io.out.write(`${status || "Login Succeeded"}\n`);
  },
});

async function ask(io: Streams, flags: { username: string; password: string; "password-stdin": boolean }): Promise<AuthConfig> {
  const username = flags.username || (await prompt(io, "Username: "));
  if (username === "") throw new CliError("username is required: pass --username");
  if (flags.password !== "") return { username, password: flags.password };
  if (flags["password-stdin"]) return { username, password: (await new Response(io.stdin.stream()).text()).replace(/\r?\n$/, "") };
  const password = await promptHidden(io, "Password: ");
  if (password === "") throw new CliError("password is required: pass --password-stdin");
  return { username, password };
}

async function prompt(io: Streams, text: string): Promise<string> {
  if (!io.stdin.isTty) throw new CliError("Cannot perform an interactive login from a non TTY device: pass --username and --password-stdin");
  await io.out.write(text);
  return (await readLine(io)).trim();
}

/** Reads keys one by one without echo; backspace and ctrl-u edit, ctrl-c gives up. */
async function promptHidden(io: Streams, text: string): Promise<string> {
  if (!io.stdin.isTty) throw new CliError("Cannot perform an interactive login from a non TTY device: pass --username and --password-stdin");
  await io.out.write(text);
  io.stdin.setRaw(true);
  try {
    let typed = "";
    const decoder = new TextDecoder();
    for await (const chunk of io.stdin.stream()) {
      for (const key of decoder.decode(chunk, { stream: true })) {
        if (key === "\r" || key === "\n" || key === "\x04") return typed;
        if (key === "\x03") throw new CliError("", 130);
        if (key === "\x7f" || key === "\b") typed = [...typed].slice(0, -1).join("");
        else if (key === "\x15") typed = "";
        else typed += key;
      }
    }
    return typed;
  } finally {
    io.stdin.setRaw(false);
    await io.out.write("\n");
  }
}
