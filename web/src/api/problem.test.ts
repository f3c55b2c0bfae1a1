import { describe, expect, it } from 'vitest'
import { ApiError, explain, passes, toApiError } from './problem'

describe('errors of the API', () => {
  const problem = { title: 'Not Found', status: 404, detail: "there is no job 'x'", reason: 'JOB_NOT_FOUND', action: 'No such job. List the jobs.', requestId: 'r1' }
  it('say what is wrong and what to do, in the daemon’s words', () => {
    const error = toApiError(404, problem)
    expect(error.reason).toBe('JOB_NOT_FOUND')
    expect(explain(error)).toEqual({ title: 'Not found', detail: "there is no job 'x' (request r1)", action: 'No such job. List the jobs.' })
  })
  it('of a proxy, which says nothing of ours, say something too', () => {
    for (const body of [undefined, '<html>', null, {}]) {
      const { title, detail, action } = explain(toApiError(502, body))
      expect([title, detail, action].every((text) => text.length > 0)).toBe(true)
    }
  })
  it.each([401, 403, 404, 409, 412, 429, 400, 500, 503])('of status %d tell what to do', (status) => {
    expect(explain(new ApiError(status, {})).action).not.toBe('')
  })
  it('without an answer name the daemon', () => expect(explain(new TypeError('Failed to fetch')).title).toContain('can’t be reached'))
})

describe('asking again', () => {
  it('helps with faults of the moment only', () => {
    expect([400, 401, 403, 404, 409, 412].some((status) => passes(new ApiError(status, {})))).toBe(false)
    expect([429, 500, 503].every((status) => passes(new ApiError(status, {})))).toBe(true)
    expect(passes(new TypeError('network'))).toBe(true)
  })
})
