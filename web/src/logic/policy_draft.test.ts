import { describe, expect, it } from 'vitest'
import type { Policy } from '../api/client'
import { ApiError } from '../api/problem'
import { expectedRows, expectedWords, longestGap, place, rulesOf } from './expected'
import { differences, draftOf, draftProblems, fieldOf, newDraft, policyOf } from './policy_draft'
import { lossOf } from './retention_loss'
import { choiceOf, expressionOf, scheduleWords } from './schedule'
import { spanOf, spanText } from './span'

const everything: Policy = {
  name: 'policies/nightly', etag: '7', description: 'all', selection: { members: ['hosts/h/virtualMachines/a'], hosts: ['hosts/h'], expression: 'name=web*', everythingElse: true, exclude: 'name=tmp*' },
  schedules: ['daily at 22:00', '30 2 * * mon-fri'], timeZone: 'Europe/Berlin', windows: ['mon-fri 20:00-06:00', 'sat,sun 00:00-24:00'], closed: ['2026-12-24..2026-12-27'],
  spread: '5400s', skipMissed: true, repository: 'repositories/main', mechanismPreference: 'MECHANISM_PREFERENCE_CHILD_SNAPSHOT_ONLY', forbidSavedState: true,
  allowCrashConsistent: false, freezeTimeout: '12.5s', grouping: 'GROUPING_HOST', retry: { maxRetries: 3, backoff: '600s' }, priority: -5, weight: 3,
  uploadBytesPerSecond: '10485760', concurrency: { jobs: 4, jobsPerHost: 2 }, retention: { last: 1, hourly: 2, daily: 3, weekly: 4, monthly: 5, yearly: 6, within: '604800s' },
  rpo: '93600s', hooks: { pre: 'quiesce', post: 'release', ignorePreFailure: true },
}

describe('a policy that is edited', () => {
  it('comes out as it went in, with nothing of it lost', () => expect(policyOf(draftOf(everything), everything)).toEqual(everything))
  it('has no name and etag when it is new', () => {
    const made = policyOf({ ...newDraft('UTC'), id: 'x' })
    expect(made.name).toBeUndefined()
    expect(made.etag).toBeUndefined()
    expect(made.hooks).toBeUndefined()
    expect(made.retention).toEqual({ last: 0, hourly: 0, daily: 14, weekly: 8, monthly: 12, yearly: 0 })
  })
  it('needs a name that can be one, and lengths of time that are some', () => {
    const draft = newDraft('UTC')
    expect(Object.keys(draftProblems(draft, true))).toEqual(['id'])
    expect(draftProblems({ ...draft, id: 'a-1' }, true)).toEqual({})
    expect(Object.keys(draftProblems({ ...draft, rpo: 'soon' }, false))).toEqual(['rpo'])
  })
  it('shows what differs', () => {
    expect(differences(draftOf(everything), draftOf({ ...everything, etag: '8', priority: 1, closed: [] }))).toEqual(['closed', 'priority'])
  })
})

describe('a refusal is shown at its field', () => {
  const draft = { ...draftOf(everything) }
  const of = (reason: string, detail: string) => fieldOf(new ApiError(400, { reason, detail }), draft)
  it('by the name that the daemon gives it', () => {
    expect(of('INVALID_REQUEST', 'policy.retention.within: must be between 0 and 24h')).toBe('within')
    expect(of('INVALID_REQUEST', 'policy.retention: counts must be')).toBe('rules')
    expect(of('INVALID_REQUEST', 'policy_id: 1 to 63')).toBe('id')
    expect(of('INVALID_REQUEST', 'weight: must be from 1 to 100')).toBe('weight')
    expect(of('INVALID_REQUEST', 'policy.selection: selects nothing')).toBe('expression')
    expect(of('INVALID_REQUEST', 'retry.backoff: must be more')).toBe('backoff')
    expect(of('POLICY_EXISTS', 'there is one')).toBe('id')
    expect(of('HOST_OFFLINE', 'away')).toBeUndefined()
    expect(fieldOf(new Error('x'), draft)).toBeUndefined()
  })
  it('by the text that it quotes', () => {
    expect(of('INVALID_SELECTION', 'expression "name=web*", character 3: no')).toBe('expression')
    expect(of('INVALID_SELECTION', 'expression "name=tmp*", character 3: no')).toBe('exclude')
    expect(of('INVALID_WINDOW', 'window "2026-12-24..2026-12-27": no')).toBe('closed')
    expect(of('INVALID_WINDOW', 'window "mon": no')).toBe('windows')
    expect(of('INVALID_SCHEDULE', 'schedule "x": no')).toBe('schedules')
    expect(of('INVALID_SCHEDULE', 'time zone "x" isn\'t known')).toBe('timeZone')
  })
})

describe('schedules', () => {
  it('are chosen from shapes and come out the same', () => {
    for (const text of ['daily at 22:00', 'weekdays at 21:00', 'weekends at 03:00', 'weekly on sat,sun at 03:30', 'monthly on 1,15,last at 02:00', 'hourly at :15', 'every 15 minutes', 'daily at 06:00,18:30']) {
      expect(choiceOf(text).kind).not.toBe('own')
      expect(expressionOf(choiceOf(text))).toBe(text)
    }
    expect(expressionOf(choiceOf('hourly'))).toBe('hourly at :00')
    expect(expressionOf(choiceOf('weekly on mon-fri at 22:00'))).toBe('weekly on mon,tue,wed,thu,fri at 22:00')
  })
  it('in own words stay as they are', () => {
    for (const text of ['30 2 * * mon-fri', 'yearly on 12-31 at 23:00', 'weekly on someday at 1:00', 'nonsense']) expect(expressionOf(choiceOf(text))).toBe(text)
  })
  it('are told in words', () => {
    expect(scheduleWords('daily at 06:00,18:30')).toBe('every day at 06:00 and 18:30')
    expect(scheduleWords('weekly on sat,sun at 03:30')).toBe('every Saturday and Sunday at 03:30')
    expect(scheduleWords('monthly on 1,22,last,first sun at 02:00')).toBe('on the 1st, the 22nd, the last day and the first Sunday of each month at 02:00')
    expect(scheduleWords('hourly at :05')).toBe('every hour, 5 minutes past')
    expect(scheduleWords('every minute')).toBe('every minute')
    expect(scheduleWords('30 2 * * *')).toBe('30 2 * * *')
  })
})

describe('lengths of time', () => {
  it('are read as people write them', () => {
    expect(spanOf('26h')).toBe(93_600)
    expect(spanOf('1 h 30 min')).toBe(5400)
    expect(spanOf('7 days')).toBe(604_800)
    expect(spanOf(' ')).toBe(0)
    for (const wrong of ['5', 'soon', '5 years', '-1 h', 'h']) expect(spanOf(wrong)).toBeUndefined()
  })
  it('come back exactly', () => {
    for (const length of [0, 1, 59.5, 60, 93_600, 604_801]) expect(spanOf(spanText(length))).toBe(length)
    expect(spanText(93_600)).toBe('1 d 2 h')
  })
})

describe('the picture of what is kept', () => {
  const at = (hours: number) => new Date(1_790_000_000_000 - hours * 3_600_000).toISOString()
  const points = [{ pointTime: at(1), keptBy: ['daily 1 of 2 (x)', 'monthly 1 of 1 (y)'] }, { pointTime: at(25), keptBy: ['nightly: daily 2 of 2 (z)'] }, { pointTime: at(99), keptBy: [] }]
  it('has a row for each rule that keeps something', () => {
    expect(rulesOf(points[0]!)).toEqual(['daily', 'monthly'])
    expect(expectedRows(points).map((row) => [row.rule, row.times.length])).toEqual([['daily', 2], ['monthly', 1]])
    expect(expectedWords(points)).toBe('3 points: 2 daily, 1 monthly')
    expect(expectedWords([])).toBe('No point')
  })
  it('goes from the oldest to now, the last day as wide as much more before', () => {
    expect(place(0, 0, 1e12)).toBe(0)
    expect(place(1e12, 0, 1e12)).toBe(1)
    const year = 365 * 24 * 3_600_000
    expect(place(year - 24 * 3_600_000, 0, year)).toBeLessThan(0.7)
    expect(place(5, 5, 5)).toBe(1)
  })
})

describe('the time between runs', () => {
  it('is the longest that comes, as over a weekend', () => {
    const run = (day: number) => ({ dueTime: `2026-11-${day}T22:00:00Z` })
    expect(longestGap([run(19), run(20), run(23), run(24)])).toBe(3 * 86_400)
    expect(longestGap([run(19)])).toBeUndefined()
  })
})

describe('what other rules take away', () => {
  it('is told machine by machine, the greatest loss first', () => {
    const loss = lossOf([
      { member: 'a', displayName: 'A', pointTime: '3', keptBy: ['x'] }, { member: 'a', displayName: 'A', pointTime: '2' },
      { member: 'b', displayName: 'B', pointTime: '3' }, { member: 'b', displayName: 'B', pointTime: '1', keptBy: [] }, { member: 'c', pointTime: '1', keptBy: ['held'] },
    ])
    expect(loss).toEqual({ points: 5, going: 3, members: [{ member: 'b', displayName: 'B', points: 2, going: ['3', '1'] }, { member: 'a', displayName: 'A', points: 2, going: ['2'] }] })
  })
})
