import { readdir, readFile, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { invalidArgument } from "../lib/errors.ts";
import type { TlsOptions } from "./transport.ts";

/** Where distributions keep the bundle of the CAs that the host trusts, in the order in which Go looks (crypto/x509, root_linux.go). */
const bundles = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/ssl/ca-bundle.pem",
  "/etc/pki/tls/cacert.pem",
  "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
  "/etc/ssl/cert.pem",
];

export interface Certificates {
  /**
   * What TLS to `host` (`name[:port]`) takes: the CAs that the host trusts and the registry's own, and a client's certificate.
   * `insecure`: whatever it shows is accepted.
   * @throws EngineError invalidArgument where a certificate lacks its key, or a key its certificate
   */
  of(host: string, insecure: boolean): Promise<TlsOptions>;
}

/** `folders`: of folders named by registries, as /etc/docker/certs.d; the first that has one counts. `files`: bundles of CAs, of which the first that exists counts. */
export function createCertificates(folders: readonly string[], files: readonly string[] = trusted()): Certificates {
  let known: { path: string; modified: number; text: string } | undefined;

  /** Without any such file those count that come with the executable. */
  const hostRoots = async (): Promise<string[]> => {
    for (const path of files) {
      const found = await stat(path).catch(() => undefined);
      if (found === undefined) continue;
      if (known?.path !== path || known.modified !== found.mtimeMs) known = { path, modified: found.mtimeMs, text: await readFile(path, "utf8") };
      return [known.text];
    }
    return [];
  };

  return {
    of: async (host, insecure) => {
      const own = await ownCertificates(folders, host);
      if (insecure) return { insecure, ...own.client };
      const roots = await hostRoots();
      // A list takes the place of the executable's.
      const base = roots.length > 0 || own.ca.length === 0 ? roots : (await import("node:tls")).rootCertificates;
      const ca = [...base, ...own.ca];
      return { insecure, ...(ca.length > 0 && { ca }), ...own.client };
    },
  };
}

function trusted(): string[] {
  const { SSL_CERT_FILE: file } = process.env;
  return file === undefined || file === "" ? bundles : [file];
}

/** `*.crt` are CAs, `NAME.cert` and `NAME.key` a client's; the sentences are Docker's (moby: registry.go, ReadCertsDirectory). */
async function ownCertificates(folders: readonly string[], host: string): Promise<{ ca: string[]; client: { cert?: string; key?: string } }> {
  for (const folder of folders) {
    const directory = join(folder, host);
    const names = (await readdir(directory).catch(() => undefined))?.sort();
    if (names === undefined) continue;
    const read = (name: string): Promise<string> => readFile(join(directory, name), "utf8");
    for (const name of names) {
      const other = name.endsWith(".cert") ? `${basename(name, ".cert")}.key` : name.endsWith(".key") ? `${basename(name, ".key")}.cert` : undefined;
      if (other === undefined || names.includes(other)) continue;
      throw invalidArgument(
        name.endsWith(".cert")
          ? `${directory}: missing key ${other} for client certificate ${name}. CA certificates must use the extension .crt`
          : `${directory}: missing client certificate ${other} for key ${name}`,
      );
    }
    const cert = names.find((name) => name.endsWith(".cert"));
    const client = cert === undefined ? {} : { cert: await read(cert), key: await read(`${basename(cert, ".cert")}.key`) };
    return { ca: await Promise.all(names.filter((name) => name.endsWith(".crt")).map(read)), client };
  }
  return { ca: [], client: {} };
}
