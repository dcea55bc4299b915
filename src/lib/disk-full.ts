/** Whether an error of the kernel, of node's fs or of SQLite says that the disk (or a quota) is full: the user's to mend, and worth a sentence. */
export function isDiskFull(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  return code === "ENOSPC" || code === "EDQUOT" || code === "SQLITE_FULL";
}
