import { invalidArgument } from "../lib/errors.ts";
import { familiarReference, parseReference, withDefaultTag } from "../oci/reference.ts";
import { resolveImage } from "./resolve.ts";
import type { ImageContext, ImageRecord } from "./types.ts";

/** Lets `target` (tag defaults to latest) name the image. Another image loses the name. @throws EngineError invalidArgument */
export function tagRecord(ctx: ImageContext, image: ImageRecord, target: string): void {
  const reference = withDefaultTag(parseReference(target));
  if (reference.digest !== undefined) throw invalidArgument("refusing to create a tag with a digest reference");
  ctx.store.tx(() => {
    ctx.register(image, [reference]);
    ctx.emit("tag", image, familiarReference(reference));
  });
}

export function tagImage(ctx: ImageContext, source: string, target: string): void {
  tagRecord(ctx, resolveImage(ctx, source), target);
}
