import { invalidArgument } from "../lib/errors.ts";
import type { Digest } from "../oci/digest.ts";
import { familiarName, familiarReference, parseReference, withDefaultTag } from "../oci/reference.ts";
import { resolveTarget } from "./resolve.ts";
import type { ImageContext, ImageRecord } from "./types.ts";

/** Lets `target` (tag defaults to latest) name the image, or with `index` all that this index names. Another image loses the name. @throws EngineError invalidArgument */
export function tagRecord(ctx: ImageContext, image: ImageRecord, target: string, index?: Digest): void {
  const reference = withDefaultTag(parseReference(target));
  if (reference.digest !== undefined) throw invalidArgument("refusing to create a tag with a digest reference");
  // `sha256:abc` would be taken for an id
  if (familiarName(reference) === "sha256") throw invalidArgument("refusing to create an ambiguous tag using digest algorithm as name");
  ctx.store.tx(() => {
    const { manifest: _, ...named } = image;
    ctx.register(index === undefined ? image : { ...named, index }, [reference]);
    ctx.emit("tag", image, familiarReference(reference));
  });
}

export function tagImage(ctx: ImageContext, source: string, target: string): void {
  const { image, target: stood } = resolveTarget(ctx, source);
  const isIndex = stood !== undefined && ctx.membersOf(stood).some((member) => member.image === image.id);
  tagRecord(ctx, image, target, isIndex ? stood : undefined);
}
