import { defineCommand } from "../command.ts";

/** What `-H ssh://…` of another host runs here: its standard input and output become a connection to this host's engine. */
export const dialStdio = defineCommand({
  name: "system dial-stdio",
  summary: "Proxy the stdio stream to the engine's connection (run by ssh:// clients)",
  usage: "",
  flags: {},
  args: { min: 0, max: 0 },
  async run({ client, io }) {
    using connection = await (await client()).transport.connect();
    const send = async (): Promise<void> => {
      for await (const chunk of io.stdin.stream() as unknown as AsyncIterable<Uint8Array>) await connection.write(chunk);
      connection.closeWrite();
    };
    // Where the engine has closed, nobody is left to tell of what can't be sent.
    send().catch(() => {});
    for await (const chunk of connection.inbox) await io.out.write(chunk);
  },
});
