import { parseTemplate as parse, type Template } from "../../lib/template.ts";
import { TemplateError } from "../../lib/template-functions.ts";
import { CliError } from "../errors.ts";

/** A template of the user's, whose mistakes are told as the command's. @throws CliError */
export function parseTemplate(source: string): Template {
  const template = told(() => parse(source));
  return { execute: (data, missing) => told(() => template.execute(data, missing)) };
}

function told<T>(action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof TemplateError) throw new CliError(error.message);
    throw error;
  }
}
