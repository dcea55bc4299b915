/** Image-spec, layer.md, "Whiteouts": a name that takes the rest of it away from the layers below. */
export const WHITEOUT = ".wh.";
export const OPAQUE_MARKER = ".wh..wh..opq";
/** Other names of this form are AUFS's own (`.wh..wh.plnk`, `.wh..wh.aufs`), with all below them: never part of a tree. */
export const AUFS_META = ".wh..wh.";
