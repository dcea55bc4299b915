import type { FlagSet, FlagValues } from "../flags.ts";

/** How a container is stopped: of `stop`, and of `restart`, which stops first. */
export const stopFlags = {
  signal: { type: "string", short: "s", help: "Signal to send to the container" },
  time: { type: "int", help: "", aliasOf: "timeout" },
  timeout: { type: "int", short: "t", help: "Seconds to wait before killing the container" },
} as const satisfies FlagSet;

/** What the engine is asked; undefined leaves it to the container's own settings. */
export function stopOptions(
  flags: FlagValues<typeof stopFlags>,
  given: (name: "timeout") => boolean,
): { signal: string | undefined; timeoutSeconds: number | undefined } {
  return { signal: flags.signal || undefined, timeoutSeconds: given("timeout") ? flags.timeout : undefined };
}
