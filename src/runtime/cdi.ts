import { readdir, readFile, realpath, stat } from "node:fs/promises";
import { invalidArgument, messageOf } from "../lib/errors.ts";
import type { CdiEdits, CdiSpec } from "./cdi-schema.ts";

/** Container Device Interface, https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md: devices described by files of their vendors. */

/** What was found in the directories. */
export interface CdiRegistry {
  /** By qualified name, `vendor.com/class=name`. `spec` says from which file, whose own edits go with those of any of its devices. */
  devices: ReadonlyMap<string, { edits: CdiEdits; spec: { path: string; edits: CdiEdits } }>;
  /** One sentence for each file that can't be used. */
  errors: string[];
}

/** As nvidia-ctk writes them they have some 100 kB. */
const LARGEST = 8 << 20;

/**
 * All devices of the spec files (*.json, *.yaml) in `directories`, read anew each time: vendors write them at any moment. A device of a later directory
 * replaces one of the same name in an earlier one; two in one directory leave none. A directory that isn't there is no error.
 */
export async function readCdi(directories: readonly string[]): Promise<CdiRegistry> {
  const devices = new Map<string, { edits: CdiEdits; spec: { path: string; edits: CdiEdits } }>();
  const errors: string[] = [];
  for (const directory of directories) {
    const here = new Map<string, string>();
    for (const file of await specFiles(directory)) {
      const found = await readSpec(file).catch((error: unknown) => void errors.push(`CDI: Error associated with spec file ${file}: ${messageOf(error)}`));
      if (found === undefined) continue;
      const spec = { path: file, edits: found.containerEdits };
      for (const { name, containerEdits: edits } of found.devices) {
        const qualified = `${found.kind}=${name}`;
        const other = here.get(qualified);
        here.set(qualified, file);
        if (other === undefined) devices.set(qualified, { edits, spec });
        else {
          devices.delete(qualified);
          errors.push(`CDI: Error associated with spec file ${file}: conflicting device ${JSON.stringify(qualified)} (specs ${other}, ${file})`);
        }
      }
    }
  }
  return { devices: new Map([...devices].sort(([a], [b]) => (a < b ? -1 : 1))), errors };
}

async function specFiles(directory: string): Promise<string[]> {
  try {
    const names = await readdir(await realpath(directory));
    return names
      .filter((name) => /\.(json|yaml)$/.test(name))
      .sort()
      .map((name) => `${directory.replace(/(.)\/+$/, "$1")}/${name}`);
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return [];
    throw invalidArgument(`reading the CDI directory ${directory}: ${messageOf(error)}`, error);
  }
}

async function readSpec(file: string): Promise<CdiSpec> {
  const { size } = await stat(file);
  if (size > LARGEST) throw invalidArgument(`${size} bytes are too many`);
  const text = await readFile(file, "utf8");
  // most hosts have no such file
  const { specShape } = await import("./cdi-schema.ts");
  const parsed = specShape.safeParse(file.endsWith(".json") ? JSON.parse(text) : Bun.YAML.parse(text));
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw invalidArgument(`${issue?.path.join(".") ?? ""}: ${issue?.message ?? "not a CDI specification"}`);
}
