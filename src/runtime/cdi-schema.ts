import { z } from "zod";
import { kindPattern, namePattern } from "./cdi-names.ts";

/** The files of cdi.ts, as far as a container is told of them. Its own module, loaded with the first file: making the shapes takes some 5 ms. */

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

export const specShape = z.object({
  cdiVersion: z.string().regex(/^(0\.[3-9]\.\d+|1\.\d+\.\d+)$/, "is a version that isn't known"),
  kind: z.string().max(512).regex(kindPattern, "wants vendor/class"),
  devices: z
    .array(z.object({ name: z.string().max(512).regex(namePattern), containerEdits }))
    .min(1)
    .max(4096),
  containerEdits: containerEdits.prefault({}),
});

export type CdiSpec = z.infer<typeof specShape>;
export type CdiEdits = z.infer<typeof containerEdits>;
