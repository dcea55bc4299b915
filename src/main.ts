/** Which program am I: `berthd` (by name, or `berth daemon`), else the command line. Each is loaded only when it is meant. */
import { basename } from "node:path";
import type { Programs } from "./cli/programs.ts";

const argv = process.argv.slice(2);
const isDaemon = basename(process.argv0) === "berthd" || argv[0] === "daemon";

const programs: Programs = {
  daemon: async (args) => (await import("./daemon/main.ts")).runDaemon(args),
  registry: async (options) => (await import("./daemon/registry.ts")).serveRegistry(options),
};

const code = isDaemon ? await programs.daemon(argv[0] === "daemon" ? argv.slice(1) : argv) : await (await import("./cli/main.ts")).runCli(argv, programs);
process.exit(code);
