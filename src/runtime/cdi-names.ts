const wordPattern = "[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?";
/** `vendor.com/class` */
export const kindPattern = new RegExp(`^${wordPattern}/${wordPattern}$`);
/** Of a device within its kind. */
export const namePattern = /^[A-Za-z0-9](?:[A-Za-z0-9_.:-]*[A-Za-z0-9])?$/;

/** Whether a name has the form `vendor.com/class=name`. */
export function isQualifiedName(name: string): boolean {
  const at = name.indexOf("=");
  return kindPattern.test(name.slice(0, at)) && namePattern.test(name.slice(at + 1));
}
