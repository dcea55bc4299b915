import { readdir, readFile, realpath, stat } from "node:fs/promises";
import { z } from "zod";
import { invalidArgument, messageOf } from "../lib/errors.ts";

/** Container Device Interface, https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md: devices described by files of their vendors. */

const environment = z.array(
  z
    .string()
    .max(1 << 16)
    .regex(/^[^=\0]+=[^\0]*$/, "is no environment variable"),
);
const path = z
  .string()
  .min(1)
  .max(4096)
  .regex(/^[^\0]+$/);
const uint32 = z.number().int().min(0).max(0xffffffff);

const deviceNode = z.object({
  path,
  hostPath: path.optional(),
  type: z.enum(["b", "c", "u", "p"]).optional(),
  major: z.number().int().optional(),
  minor: z.number().int().optional(),
  fileMode: uint32.optional(),
  permissions: z
    .string()
    .regex(/^[rwm]*$/)
    .optional(),
  uid: uint32.optional(),
  gid: uint32.optional(),
});
const hook = z.object({
  hookName: z.enum(["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]),
  path,
  args: z.array(z.string()).optional(),
  env: environment.optional(),
  timeout: z.number().int().optional(),
});
const containerEdits = z.object({
  env: environment.default([]),
  deviceNodes: z.array(deviceNode).default([]),
  mounts: z.array(z.object({ hostPath: path, containerPath: path, options: z.array(z.string()).default([]), type: z.string().optional() })).default([]),
  hooks: z.array(hook).default([]),
  additionalGids: z.array(uint32).default([]),
  netDevices: z.array(z.unknown()).default([]),
  intelRdt: z.unknown().optional(),
});
const noEdits = containerEdits.parse({});

const wordPattern = "[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?";
const kindPattern = new RegExp(`^${wordPattern}/${wordPattern}$`);
const namePattern = /^[A-Za-z0-9](?:[A-Za-z0-9_.:-]*[A-Za-z0-9])?$/;

const specShape = z.object({
  cdiVersion: z.string().regex(/^(0\.[3-9]\.\d+|1\.\d+\.\d+)$/, "is a version that isn't known"),
  kind: z.string().max(512).regex(kindPattern, "wants vendor/class"),
  devices: z
    .array(z.object({ name: z.string().max(512).regex(namePattern), containerEdits }))
    .min(1)
    .max(4096),
  containerEdits: containerEdits.optional(),
});

export type CdiEdits = z.infer<typeof containerEdits>;

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
      const spec = { path: file, edits: found.containerEdits ?? noEdits };
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

async function readSpec(file: string): Promise<z.infer<typeof specShape>> {
  const { size } = await stat(file);
  if (size > LARGEST) throw invalidArgument(`${size} bytes are too many`);
  const text = await readFile(file, "utf8");
  const parsed = specShape.safeParse(file.endsWith(".json") ? JSON.parse(text) : Bun.YAML.parse(text));
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw invalidArgument(`${issue?.path.join(".") ?? ""}: ${issue?.message ?? "not a CDI specification"}`);
}

/** Whether a name has the form `vendor.com/class=name`. */
export function isQualifiedName(name: string): boolean {
  const at = name.indexOf("=");
  return kindPattern.test(name.slice(0, at)) && namePattern.test(name.slice(at + 1));
}
