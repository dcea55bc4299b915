import { parseHost } from "../../client/host.ts";
import { CliError } from "../errors.ts";
import { csvFields } from "../parse/mounts.ts";
import type { StoredContext } from "./store.ts";

const keys = ["host", "ca", "cert", "key", "skip-tls-verify", "from"];

/** What both `context create` and `context update` take. */
export const contextFlags = {
  description: { type: "string", help: "Description of the context" },
  docker: { type: "string", help: "Set the engine's endpoint: host=…,ca=…,cert=…,key=…,skip-tls-verify=…", value: "stringToString" },
} as const;

/** The engine that a context leads to. Certificates as PEM. */
export interface Endpoint {
  host: string;
  skipVerify: boolean;
  pems: { ca?: string; cert?: string; key?: string };
}

/** The flag `--docker`: `host=…,ca=…,cert=…,key=…,skip-tls-verify=…`; what it doesn't name is as in `base`. @throws CliError */
export async function parseEndpoint(text: string, base: StoredContext | undefined): Promise<Endpoint> {
  const given = Object.fromEntries(
    csvFields(text)
      .filter(Boolean)
      .map((field) => field.split(/=(.*)/s, 2) as [string, string]),
  );
  const unknown = Object.keys(given).find((key) => !keys.includes(key));
  if (unknown !== undefined) throw new CliError(`unrecognized config key: ${unknown}`);
  const host = given.host ?? base?.host ?? "";
  if (host !== "") parseHost(host);
  const skip = given["skip-tls-verify"];
  const pems: Endpoint["pems"] = {};
  for (const kind of ["ca", "cert", "key"] as const) {
    const path = given[kind];
    const pem = path === undefined ? base?.tls?.[kind] : await readPem(path);
    if (pem !== undefined) pems[kind] = pem;
  }
  return { host, skipVerify: skip === undefined ? base?.tls?.verify === false : skip !== "false", pems };
}

async function readPem(path: string): Promise<string> {
  const file = Bun.file(path);
  if (!(await file.exists())) throw new CliError(`open ${path}: no such file or directory`);
  return file.text();
}
