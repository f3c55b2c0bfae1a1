// What went wrong, as the API says it (application/problem+json), and what to do about it.

export interface Problem {
  title?: string
  status?: number
  detail?: string
  reason?: string
  action?: string
  requestId?: string
}

export class ApiError extends Error {
  readonly status: number
  /** Stable, UPPER_SNAKE; "" when there is none. */
  readonly reason: string
  /** What to do; "" when the daemon didn't say. */
  readonly action: string
  /** Names the request in the daemon's log; "" when there is none. */
  readonly requestId: string

  constructor(status: number, problem: Problem) {
    super(problem.detail || problem.title || `The daemon answered with status ${status}.`)
    this.name = 'ApiError'
    this.status = status
    this.reason = problem.reason ?? ''
    this.action = problem.action ?? ''
    this.requestId = problem.requestId ?? ''
  }
}

/** `body` is what came with the status: a problem, or, from a proxy, anything. */
export function toApiError(status: number, body: unknown): ApiError {
  return new ApiError(status, typeof body === 'object' && body !== null ? (body as Problem) : {})
}

export interface Explanation {
  title: string
  detail: string
  action: string
}

/** For people: what is wrong, in full, and what to do next. Never empty. */
export function explain(error: unknown): Explanation {
  if (!(error instanceof ApiError)) {
    return {
      title: 'The daemon can’t be reached',
      detail: error instanceof Error ? error.message : String(error),
      action: 'Check that umbrad runs (systemctl status umbrad) and that this machine reaches it. The page tries again by itself.',
    }
  }
  const detail = error.requestId ? `${error.message} (request ${error.requestId})` : error.message
  switch (error.status) {
    case 401: return { title: 'Not signed in', detail, action: error.action || 'Sign in again.' }
    case 403: return { title: 'Not allowed', detail, action: error.action || 'Ask an administrator for a role that may do this.' }
    case 404: return { title: 'Not found', detail, action: error.action || 'It may have been removed. Go back to the list.' }
    case 409: case 412:
      return { title: 'Can’t be done now', detail, action: error.action || 'Somebody may have changed it meanwhile. Look at its present state and try again.' }
    case 429: return { title: 'Too many requests', detail, action: error.action || 'Wait a moment and try again.' }
    default:
      return error.status >= 500
        ? { title: 'The daemon failed', detail, action: error.action || 'Try again; if it stays so, look at the daemon’s log (journalctl -u umbrad).' }
        : { title: 'The request was refused', detail, action: error.action || 'Correct what the message names.' }
  }
}

/** Whether asking again can help: faults of the moment, not answers. */
export function passes(error: unknown): boolean {
  return !(error instanceof ApiError) || error.status >= 500 || error.status === 429
}
