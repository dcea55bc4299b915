import { defaultHost } from "../../client/host.ts";
import { defineCommand } from "../command.ts";
import { inspectAll } from "../inspect.ts";
import { currentContext, folderOf, readContext } from "./store.ts";

export const inspect = defineCommand({
  name: "context inspect",
  summary: "Display detailed information on one or more contexts",
  usage: "[CONTEXT] [CONTEXT...]",
  flags: { format: { type: "string", short: "f", help: "Format output: 'json' or a Go template" } },
  args: { min: 0 },
  async run({ flags, args, io, config, env }) {
    const names = args.length === 0 ? [await currentContext(config, env)] : args;
    return inspectAll(io, names, flags.format, async (name) => {
      if (name === "default") {
        const host = env.BERTH_HOST || env.DOCKER_HOST || defaultHost;
        return {
          Name: name,
          Metadata: {},
          Endpoints: { docker: { Host: host, SkipTLSVerify: false } },
          TLSMaterial: {},
          Storage: { MetadataPath: "<IN MEMORY>", TLSPath: "<IN MEMORY>" },
        };
      }
      const { meta, tls } = await readContext(config, name);
      const pems = (["ca", "cert", "key"] as const).filter((kind) => tls?.[kind] !== undefined).map((kind) => `${kind}.pem`);
      return {
        ...meta,
        TLSMaterial: pems.length === 0 ? {} : { docker: pems },
        Storage: { MetadataPath: folderOf(config, name, "meta"), TLSPath: folderOf(config, name, "tls") },
      };
    });
  },
});
