/** The engine answered with an error; the message is the engine's own sentence. */
export class ApiError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.name = "ApiError";
    this.status = status;
  }
}

/** No engine could be reached, or the connection broke. `code` is the system's (`ENOENT`, `ECONNREFUSED`, `EACCES`, …). */
export class ConnectionError extends Error {
  readonly code: string;
  /** As the user would write it: `unix:///run/berth/berth.sock`. */
  readonly host: string;

  constructor(host: string, code: string, message: string, cause?: unknown) {
    super(message, { cause });
    this.name = "ConnectionError";
    this.host = host;
    this.code = code;
  }
}

/** True for an ApiError 404. */
export function isNotFound(error: unknown): boolean {
  return error instanceof ApiError && error.status === 404;
}

/** The sentence of an error's body: `{"message": …}`, or the text itself where a proxy answered. */
export function errorMessage(body: string, status: number, statusText: string): string {
  try {
    const parsed: unknown = JSON.parse(body);
    if (typeof parsed === "object" && parsed !== null && "message" in parsed && typeof parsed.message === "string") return parsed.message.trim();
  } catch {
    // Not JSON: then the text is all there is.
  }
  return body.trim().slice(0, 2000) || `the engine answered ${status} ${statusText}`.trim();
}
