import manifest from "../../package.json" with { type: "json" };

/** Berth's own version: SemVer, from package.json. */
export const version: string = manifest.version;

/** Engine API versions served. */
export const apiVersion = "1.55";
export const minApiVersion = "1.24";
