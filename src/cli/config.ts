import type { AuthConfig } from "../client/types.ts";
import { CliError } from "./errors.ts";

/** What config.json may say; unknown keys are kept when it is written back. */
export interface ConfigFile {
  auths?: Record<string, AuthConfig>;
  credsStore?: string;
  credHelpers?: Record<string, string>;
  currentContext?: string;
  detachKeys?: string;
  HttpHeaders?: Record<string, string>;
  psFormat?: string;
  imagesFormat?: string;
  networksFormat?: string;
  volumesFormat?: string;
  statsFormat?: string;
  proxies?: Record<string, { httpProxy?: string; httpsProxy?: string; noProxy?: string; ftpProxy?: string; allProxy?: string }>;
  [key: string]: unknown;
}

/** The user's settings: Docker's own folder and file, so that logins and contexts are shared with it. */
export interface CliConfig {
  readonly directory: string;
  file(): Promise<ConfigFile>;
  /** Writes it back, 0600, in place of the old one at once. */
  save(change: (file: ConfigFile) => void): Promise<void>;
}

export function createConfig(directory: string): CliConfig {
  const path = `${directory}/config.json`;
  let loaded: Promise<ConfigFile> | undefined;
  const load = async (): Promise<ConfigFile> => {
    const file = Bun.file(path);
    let text: string;
    try {
      text = await file.text();
    } catch (error) {
      const code = (error as { code?: string }).code;
      if (code === "ENOENT" || code === "ENOTDIR") return {};
      throw new CliError(`can't read ${path}: ${error instanceof Error ? error.message : String(error)}`);
    }
    try {
      const parsed: unknown = JSON.parse(text);
      return typeof parsed === "object" && parsed !== null && !Array.isArray(parsed) ? (parsed as ConfigFile) : {};
    } catch (error) {
      throw new CliError(`${path} is not valid JSON: ${error instanceof Error ? error.message : String(error)}`);
    }
  };
  return {
    directory,
    file: () => (loaded ??= load()),
    save: async (change) => {
      const { mkdir, rename, writeFile, realpath } = await import("node:fs/promises");
      const file = { ...(await load()) };
      change(file);
      await mkdir(directory, { recursive: true, mode: 0o700 });
      // Follow a link, as dotfile managers make them, and replace what it points to.
      const target = await realpath(path).catch(() => path);
      const temporary = `${target}.${process.pid}.tmp`;
      await writeFile(temporary, `${JSON.stringify(file, null, "\t")}\n`, { mode: 0o600 });
      await rename(temporary, target);
      loaded = Promise.resolve(file);
    },
  };
}
