/** A failure whose text goes to the user as it stands. An empty message prints nothing. Without an exit code the command's own holds. */
export class CliError extends Error {
  readonly exitCode: number | undefined;

  constructor(message: string, exitCode?: number) {
    super(message);
    this.name = "CliError";
    this.exitCode = exitCode;
  }
}

/** The command line itself is wrong: exit code 125, with a pointer to help, as Docker's. */
export class UsageError extends CliError {
  declare readonly exitCode: number;

  constructor(message: string, exitCode = 125) {
    super(message, exitCode);
    this.name = "UsageError";
  }
}
