import { invalidArgument, messageOf } from "./errors.ts";

export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFormat = "text" | "json";
export type LogFields = Record<string, unknown>;

/** Structured log, passed in by constructor. An error is logged once, where it is handled. */
export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger that adds `fields` to each line. */
  with(fields: LogFields): Logger;
}

const order: Record<LogLevel, number> = { debug: 0, info: 1, warn: 2, error: 3 };

/** Errors as text, numbers that JSON doesn't have as text: what is logged must never throw. */
const plain = (_key: string, value: unknown): unknown =>
  value instanceof Error
    ? messageOf(value) + (value.cause === undefined ? "" : `: ${messageOf(value.cause)}`)
    : typeof value === "bigint"
      ? String(value)
      : value;

function format(value: unknown): string {
  if (typeof value === "string") return /^[\w./:@-]+$/.test(value) ? value : JSON.stringify(value);
  return typeof value === "object" ? JSON.stringify(value, plain) : String(value);
}

/** dockerd's names; what is worse than an error counts as one. @throws EngineError invalidArgument */
export function parseLogLevel(text: string): LogLevel {
  const name = text.toLowerCase();
  if (name === "debug" || name === "info" || name === "warn" || name === "error") return name;
  if (name === "trace") return "debug";
  if (name === "fatal" || name === "panic") return "error";
  throw invalidArgument(`invalid logging level: ${text}: want debug, info, warn or error`);
}

/** @throws EngineError invalidArgument */
export function parseLogFormat(text: string): LogFormat {
  if (text === "text" || text === "json") return text;
  throw invalidArgument(`invalid log format: ${text}: want text or json`);
}

/**
 * Lines of `time=… level=… msg=… key=value`, or of JSON with the same keys, as dockerd writes them. `level` and `format` are asked at each line, so that
 * a reload takes effect.
 */
export function createLogger(options: { level: () => LogLevel; format?: () => LogFormat; write: (line: string) => void; fields?: LogFields }): Logger {
  const line = (level: LogLevel, message: string, fields?: LogFields): void => {
    if (order[level] < order[options.level()]) return;
    const time = new Date().toISOString();
    const all = { ...options.fields, ...fields };
    if (options.format?.() === "json") {
      const own = { time, level, msg: message };
      // first for readers, and last so that no field takes their place
      options.write(JSON.stringify({ ...own, ...all, ...own }, plain) + "\n");
      return;
    }
    let text = `time=${time} level=${level} msg=${JSON.stringify(message)}`;
    for (const [key, value] of Object.entries(all)) {
      if (value !== undefined) text += ` ${key}=${format(value)}`;
    }
    options.write(text + "\n");
  };
  return {
    debug: (message, fields) => line("debug", message, fields),
    info: (message, fields) => line("info", message, fields),
    warn: (message, fields) => line("warn", message, fields),
    error: (message, fields) => line("error", message, fields),
    with: (fields) => createLogger({ ...options, fields: { ...options.fields, ...fields } }),
  };
}

/** For tests and tools that want silence. */
export const silent: Logger = createLogger({ level: () => "error", write: () => {} });
