declare module 'virtual:reasons' {
  /** What to do, by reason. */
  const reasons: Record<string, string>
  export default reasons
}
