import { isDiskFull } from "../lib/disk-full.ts";
import { kindOf, messageOf } from "../lib/errors.ts";

/** The distribution-spec's codes, with the status each answers with. */
const statuses = {
  BLOB_UNKNOWN: 404,
  BLOB_UPLOAD_INVALID: 400,
  BLOB_UPLOAD_UNKNOWN: 404,
  DENIED: 403,
  DIGEST_INVALID: 400,
  MANIFEST_BLOB_UNKNOWN: 400,
  MANIFEST_INVALID: 400,
  MANIFEST_UNKNOWN: 404,
  NAME_INVALID: 400,
  NAME_UNKNOWN: 404,
  PAGINATION_NUMBER_INVALID: 400,
  RANGE_INVALID: 416,
  SIZE_INVALID: 400,
  TAG_INVALID: 400,
  TOOMANYREQUESTS: 429,
  UNAUTHORIZED: 401,
  UNSUPPORTED: 405,
  UNAVAILABLE: 503,
  UNKNOWN: 500,
} as const;

export type FaultCode = keyof typeof statuses;

/** A refusal that goes to the client as the spec's error document. */
export class Fault extends Error {
  readonly code: FaultCode;
  readonly status: number;
  readonly detail: unknown;
  readonly headers: Record<string, string>;

  constructor(code: FaultCode, message: string, options: { status?: number; detail?: unknown; headers?: Record<string, string> } = {}) {
    super(message);
    this.name = "Fault";
    this.code = code;
    this.status = options.status ?? statuses[code];
    this.detail = options.detail;
    this.headers = options.headers ?? {};
  }

  get body(): string {
    return JSON.stringify({ errors: [{ code: this.code, message: this.message, ...(this.detail !== undefined && { detail: this.detail }) }] });
  }
}

/** Whatever a handler threw, as a fault: the engine's own errors carry their kind. */
export function toFault(error: unknown): Fault {
  if (error instanceof Fault) return error;
  // Docker shows no more than the status, and "507 Insufficient Storage" says it.
  if (isDiskFull(error)) return new Fault("UNAVAILABLE", `the registry's disk is full: ${messageOf(error)}`, { status: 507 });
  switch (kindOf(error)) {
    case "invalidArgument":
      return new Fault("DIGEST_INVALID", messageOf(error));
    case "notFound":
      return new Fault("BLOB_UNKNOWN", messageOf(error));
    case "unavailable":
      return new Fault("UNAVAILABLE", messageOf(error));
    default:
      return new Fault("UNKNOWN", "internal error of the registry");
  }
}
