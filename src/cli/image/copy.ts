import type { Client } from "../../client/client.ts";
import { copyImage } from "../../client/copy.ts";
import { defineCommand } from "../command.ts";
import { clientOf } from "../connect.ts";
import type { CliConfig } from "../config.ts";
import { CliError } from "../errors.ts";
import { showProgress } from "../format/progress.ts";

export const copy = defineCommand({
  name: "image copy",
  summary: "Copy an image to or from another engine, without a registry",
  usage: "IMAGE ENGINE | ENGINE IMAGE",
  description:
    "ENGINE is an address (ssh://[user@]host[:port][/socket], tcp://…, unix://…) or a context's name. Only layers that the other engine lacks are sent; a copy that broke off goes on where it was.",
  flags: {
    platform: { type: "string", help: "Copy this platform of the image (os[/arch[/variant]])" },
    quiet: { type: "bool", short: "q", help: "Suppress verbose output" },
  },
  args: { min: 2, max: 2 },
  completes: "image",
  async run({ flags, args, client, config, env, io }) {
    const [first, second] = args as [string, string];
    const sends = await pointsAway(config, first, second);
    const other = clientOf(await addressOf(config, sends ? second : first), env, config);
    const here = await client();
    const [from, to]: [Client, Client] = sends ? [here, await other] : [await other, here];
    const image = sends ? first : second;
    const lines = copyImage(from, to, image, flags.platform === "" ? {} : { platform: flags.platform });
    const sink = flags.quiet ? { ...io.out, isTty: false, write: async () => {} } : io.out;
    await showProgress(lines, sink, { rows: io.windowSize()?.rows });
    if (flags.quiet) await io.out.write(`${image}\n`);
  },
});

/** Whether the image stands before the engine. @throws CliError where neither is an engine's address or context, or both are */
async function pointsAway(config: CliConfig, first: string, second: string): Promise<boolean> {
  const [isFirst, isSecond] = [first.includes("://"), second.includes("://")];
  if (isFirst !== isSecond) return isSecond;
  if (isFirst) throw new CliError("both arguments are engines: name the image");
  const { hasContext } = await import("../context/store.ts");
  const [named, other] = [await hasContext(config, first), await hasContext(config, second)];
  if (named && other) throw new CliError(`${first} and ${second} are both contexts: write the engine's address`);
  if (!named && !other) throw new CliError(`neither ${first} nor ${second} is an engine's address (ssh://…, tcp://…, unix://…) or a context`);
  return other;
}

async function addressOf(config: CliConfig, engine: string): Promise<{ host: string; tls?: Parameters<typeof clientOf>[0]["tls"] }> {
  if (engine.includes("://")) return { host: engine };
  const { readContext } = await import("../context/store.ts");
  const { host, tls } = await readContext(config, engine);
  if (host === undefined) throw new CliError(`context ${JSON.stringify(engine)} names no engine`);
  return { host, ...(tls && { tls }) };
}
