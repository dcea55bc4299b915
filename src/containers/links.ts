import { invalidArgument } from "../lib/errors.ts";

/** `container[:alias]` of HostConfig.Links; inspect's form `/container:/this/alias` is taken too. @throws EngineError invalidArgument */
export function parseLink(text: string): { container: string; alias: string } {
  const [container = "", alias = container, ...rest] = text.split(":");
  const name = container.replace(/^\//, "");
  const last = alias.slice(alias.lastIndexOf("/") + 1);
  if (name === "" || last === "" || rest.length > 0) throw invalidArgument(`bad format for links: ${text}`);
  return { container: name, alias: last };
}
