import { invalidArgument } from "../lib/errors.ts";
import type { ContainerRecord } from "./types.ts";

/** `container[:alias]` of HostConfig.Links; inspect's form `/container:/this/alias` is taken too. @throws EngineError invalidArgument */
export function parseLink(text: string): { container: string; alias: string } {
  const [container = "", alias = container, ...rest] = text.split(":");
  const name = container.replace(/^\//, "");
  const last = alias.slice(alias.lastIndexOf("/") + 1);
  if (name === "" || last === "" || rest.length > 0) throw invalidArgument(`bad format for links: ${text}`);
  return { container: name, alias: last };
}

/** A container's links on the default bridge, and whom they mean: by id where that was found at create. On other networks a link is but a name. */
export function bridgeLinks({ host, endpoints, linked }: Pick<ContainerRecord, "host" | "endpoints" | "linked">): { alias: string; reference: string }[] {
  if (!Object.hasOwn(endpoints, "bridge")) return [];
  return (host.Links ?? []).map(parseLink).map(({ container, alias }) => ({ alias, reference: linked?.[alias] ?? container }));
}
