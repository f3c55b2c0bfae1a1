// What the pages ask for, under the keys that events invalidate (src/live/invalidation.ts).
import { infiniteQueryOptions, queryOptions } from '@tanstack/react-query'
import { nightsOf, nightSpans, nights, summarise, sumsOf, type Night, type Summary } from '../logic/coverage'
import { isFinal } from '../logic/jobs'
import { api, body, type Coverage, type Job, type Policy } from './client'
import { ApiError } from './problem'
import type { operations } from './schema'

type CoverageFilter = NonNullable<NonNullable<operations['listCoverage']['parameters']['query']>['filter']>

const PAGE = 200
const SEARCH_PAGE = 1000
// Some years of one machine: its calendar and its charts show them as a whole.
const POINTS_PAGE = 500
// A sum over the whole fleet stops here and says so: a page that never ends is worse than a sum that is marked.
const PAGES_MAX = 30
const FLEET_PAGES_MAX = 120
const LIVE_MS = 2000

const next = (page: { nextPageToken?: string }) => page.nextPageToken || undefined

async function allPages<T>(most: number, fetchPage: (token: string) => Promise<{ items: T[]; token: string }>) {
  const items: T[] = []
  let token = ''
  for (let page = 0; page < most; ++page) {
    const answer = await fetchPage(token)
    items.push(...answer.items)
    token = answer.token
    if (token === '') return { items, whole: true }
  }
  return { items, whole: false }
}

export const identityQuery = queryOptions({
  queryKey: ['identity'],
  queryFn: () => body(api.GET('/v1/identity')),
  retry: false,
  staleTime: 60_000,
})

export const hostsQuery = queryOptions({
  queryKey: ['hosts', 'list'],
  queryFn: async () =>
    (await allPages(PAGES_MAX, async (pageToken) => {
      const page = await body(api.GET('/v1/hosts', { params: { query: { pageSize: 1000, pageToken } } }))
      return { items: page.hosts ?? [], token: page.nextPageToken ?? '' }
    })).items,
})

export const hostQuery = (host: string) =>
  queryOptions({ queryKey: ['hosts', host], queryFn: () => body(api.GET('/v1/hosts/{host}', { params: { path: { host } } })) })

/** The VSS writers, as the host's agent last reported them. */
export const writersQuery = (host: string) =>
  queryOptions({
    queryKey: ['hosts', host, 'writers'],
    queryFn: async () => (await body(api.GET('/v1/hosts/{host}/writers', { params: { path: { host }, query: { pageSize: 1000 } } }))).writers ?? [],
  })

/** Every machine: the API's filters leave out those that a policy selects without a promise and that were never backed up. */
export const allCoverageQuery = queryOptions({
  queryKey: ['coverage', 'all'],
  queryFn: () =>
    allPages<Coverage>(FLEET_PAGES_MAX, async (pageToken) => {
      const page = await body(api.GET('/v1/coverage', { params: { query: { pageSize: 1000, pageToken } } }))
      return { items: page.coverage ?? [], token: page.nextPageToken ?? '' }
    }),
})

/** A page of coverage, for usePages. */
export async function readCoverage(filter: CoverageFilter, neverOnly: boolean, pageToken: string) {
  const page = await body(api.GET('/v1/coverage', { params: { query: { filter, pageSize: PAGE, pageToken } } }))
  return { rows: (page.coverage ?? []).filter((row) => !neverOnly || !row.lastGoodTime), next: page.nextPageToken ?? '' }
}

/** A page of machines, for usePages. The daemon looks at as many as are asked for, and answers with those that fit: a search goes through the fleet in few steps. */
export async function readMachines(host: string, filter: string, pageToken: string) {
  const page = await body(api.GET('/v1/hosts/{host}/virtualMachines', { params: { path: { host }, query: { filter, pageSize: filter === '' ? PAGE : SEARCH_PAGE, pageToken } } }))
  return { rows: page.virtualMachines ?? [], next: page.nextPageToken ?? '' }
}

export const machineQuery = (host: string, virtualMachine: string) =>
  queryOptions({
    queryKey: ['machine', host, virtualMachine],
    queryFn: () => body(api.GET('/v1/hosts/{host}/virtualMachines/{virtualMachine}', { params: { path: { host, virtualMachine } } })),
    staleTime: 30_000,
  })

export const pointsQuery = (virtualMachine: string) =>
  infiniteQueryOptions({
    queryKey: ['points', virtualMachine],
    queryFn: ({ pageParam }) =>
      body(api.GET('/v1/recoveryPoints', { params: { query: { virtualMachine, pageSize: POINTS_PAGE, pageToken: pageParam, showDeleted: true } } })),
    initialPageParam: '',
    getNextPageParam: next,
  })

export const fileSetPointsQuery = (fileSet: string) =>
  infiniteQueryOptions({
    queryKey: ['points', fileSet],
    queryFn: ({ pageParam }) =>
      body(api.GET('/v1/recoveryPoints', { params: { query: { fileSet, pageSize: POINTS_PAGE, pageToken: pageParam, showDeleted: true } } })),
    initialPageParam: '',
    getNextPageParam: next,
  })

/** The files of a file set's point never change. */
export const pointFilesQuery = (recoveryPoint: string) =>
  infiniteQueryOptions({
    queryKey: ['files', recoveryPoint],
    queryFn: ({ pageParam }) =>
      body(api.GET('/v1/recoveryPoints/{recoveryPoint}/files', { params: { path: { recoveryPoint }, query: { pageSize: 1000, pageToken: pageParam } } })),
    initialPageParam: '',
    getNextPageParam: next,
    staleTime: Infinity,
  })

export const pointQuery = (recoveryPoint: string) =>
  queryOptions({
    queryKey: ['point', recoveryPoint],
    queryFn: () => body(api.GET('/v1/recoveryPoints/{recoveryPoint}', { params: { path: { recoveryPoint } } })),
    enabled: recoveryPoint !== '',
  })

/** A page of jobs, newest first, for usePages. */
export async function readJobs(kind: string, activeOnly: boolean, policy: string, pageToken: string) {
  const page = await body(api.GET('/v1/jobs', { params: { query: { kind, activeOnly, policy, pageSize: PAGE, pageToken } } }))
  return { rows: page.jobs ?? [], next: page.nextPageToken ?? '' }
}

/** Progress is no event: jobs that work are asked for again. */
export const liveJobs = (jobs: Job[]) => (jobs.some((job) => !isFinal(job)) ? LIVE_MS : false)

export const activeJobsQuery = queryOptions({
  queryKey: ['jobs', 'active'],
  queryFn: async () => {
    const page = await body(api.GET('/v1/jobs', { params: { query: { activeOnly: true, pageSize: 100 } } }))
    return { jobs: page.jobs ?? [], whole: !page.nextPageToken }
  },
  refetchInterval: (query) => ((query.state.data?.jobs.length ?? 0) > 0 ? LIVE_MS : false),
})

/** The newest backups of up to eight days, newest first. `knownFrom`: every backup created since then is among them. */
export const recentBackupsQuery = queryOptions({
  queryKey: ['jobs', 'recent'],
  queryFn: async () => {
    const from = Date.now() - 8 * 86_400_000
    const jobs: Job[] = []
    let token = ''
    for (let page = 0; page < 6; ++page) {
      const answer = await body(api.GET('/v1/jobs', { params: { query: { kind: 'backup', pageSize: 500, pageToken: token } } }))
      jobs.push(...(answer.jobs ?? []))
      token = answer.nextPageToken ?? ''
      const oldest = new Date(jobs.at(-1)?.createTime ?? 0).getTime()
      if (token === '' || oldest < from) return { jobs, knownFrom: from }
    }
    return { jobs, knownFrom: new Date(jobs.at(-1)?.createTime ?? 0).getTime() }
  },
})

/** The daemon's sums; undefined when it refuses them, to those who may see a part only: lists are read then. */
async function summed<T>(sums: Promise<T>): Promise<T | undefined> {
  try {
    return await sums
  } catch (error) {
    if (error instanceof ApiError && error.status === 403) return undefined
    throw error
  }
}

/** How safe the fleet is. `everything`: the caller may see all of it, so the daemon's own sums are asked for; to others they are refused, so lists are read. */
export const protectionQuery = (everything: boolean) =>
  queryOptions({
    queryKey: ['coverage', 'sums', everything],
    queryFn: async ({ client }): Promise<{ summary: Summary; whole: boolean }> => {
      if (everything) {
        const sums = await summed(body(api.GET('/v1/coverage:summary')))
        if (sums) return { summary: sumsOf(sums), whole: true }
      }
      const [coverage, recent] = await Promise.all([client.fetchQuery(allCoverageQuery), client.fetchQuery(recentBackupsQuery)])
      return { summary: summarise(coverage.items, recent.jobs), whole: coverage.whole }
    },
  })

const NIGHTS = 7

/** The last nights' backups, newest first; fewer when lists are read and don't reach so far. */
export const nightsQuery = (everything: boolean, utc: boolean) =>
  queryOptions({
    queryKey: ['nights', everything, utc],
    queryFn: async ({ client }): Promise<Night[]> => {
      const now = Date.now()
      const answers = everything && await summed(Promise.all(nightSpans(now, NIGHTS, utc).map(({ from, seconds, count }) =>
        body(api.GET('/v1/jobs:summarizeBackups', { params: { query: { startTime: new Date(from).toISOString(), period: `${seconds}s`, count } } })))))
      if (!answers) {
        const { jobs, knownFrom } = await client.fetchQuery(recentBackupsQuery)
        return nights(jobs, now, NIGHTS, knownFrom, utc)
      }
      return nightsOf(answers.flatMap((answer) => answer.summaries ?? []))
    },
  })

export const jobQuery = (job: string) =>
  queryOptions({
    queryKey: ['job', job],
    queryFn: () => body(api.GET('/v1/jobs/{job}', { params: { path: { job } } })),
  })

/** The kept events of a resource, oldest first. */
export const eventsQuery = (resource: string) =>
  queryOptions({
    queryKey: ['events', resource],
    queryFn: async () => {
      const { items } = await allPages(5, async (pageToken) => {
        const page = await body(api.GET('/v1/events', { params: { query: { resource, pageSize: 1000, pageToken } } }))
        return { items: page.events ?? [], token: page.nextPageToken ?? '' }
      })
      return items
    },
  })

export const policiesQuery = queryOptions({
  queryKey: ['policies'],
  queryFn: async () =>
    (await allPages(PAGES_MAX, async (pageToken) => {
      const page = await body(api.GET('/v1/policies', { params: { query: { pageSize: 1000, pageToken } } }))
      return { items: page.policies ?? [], token: page.nextPageToken ?? '' }
    })).items,
})

/** The policies that select a machine at present, by its resource name. */
export const selectingPoliciesQuery = (member: string) =>
  queryOptions({
    queryKey: ['policies', 'of', member],
    queryFn: async () => (await body(api.GET('/v1/policies', { params: { query: { member, pageSize: 1000 } } }))).policies ?? [],
  })

export const policyQuery = (policy: string) =>
  queryOptions({
    queryKey: ['policies', policy],
    queryFn: () => body(api.GET('/v1/policies/{policy}', { params: { path: { policy } } })),
    enabled: policy !== '',
  })

/** What a policy would do that is only written yet: checked as if it were to be made. */
export const previewQuery = (policy: Policy) =>
  queryOptions({
    queryKey: ['preview', policy],
    queryFn: () => body(api.POST('/v1/policies:preview', { body: { policy } })),
    retry: false, staleTime: 30_000, gcTime: 60_000,
  })

const RETENTION_PAGES_MAX = 5

/** What other rules would do to the points that there are. `whole`: every machine was looked at. */
export const retentionQuery = (policy: string, retention: NonNullable<Policy['retention']>) =>
  queryOptions({
    queryKey: ['preview', 'retention', policy, retention],
    queryFn: () => {
      const rules = Object.fromEntries(Object.entries(retention).map(([rule, value]) => [`retention.${rule}`, value]))
      return allPages(RETENTION_PAGES_MAX, async (pageToken) => {
        const page = await body(api.GET('/v1/policies/{policy}:previewRetention', { params: { path: { policy }, query: { ...rules, pageSize: 200, pageToken } } }))
        return { items: page.verdicts ?? [], token: page.nextPageToken ?? '' }
      })
    },
    retry: false, staleTime: 30_000,
  })

/** The first machines that an expression matches: a page may be empty and not the last, so a few are asked for. */
export const machineHitsQuery = (filter: string, host = '-') =>
  queryOptions({
    queryKey: ['machines', 'hits', host, filter],
    queryFn: async () => {
      let pageToken = ''
      for (let page = 0; page < 5; ++page) {
        const answer = await body(api.GET('/v1/hosts/{host}/virtualMachines', { params: { path: { host }, query: { filter, pageSize: 20, pageToken } } }))
        pageToken = answer.nextPageToken ?? ''
        if ((answer.virtualMachines ?? []).length > 0 || pageToken === '') return answer.virtualMachines ?? []
      }
      return []
    },
    enabled: filter !== '', retry: false,
  })

export const fileSetsQuery = queryOptions({
  queryKey: ['fileSets'],
  queryFn: async () =>
    (await allPages(PAGES_MAX, async (pageToken) => {
      const page = await body(api.GET('/v1/hosts/{host}/fileSets', { params: { path: { host: '-' }, query: { pageSize: 1000, pageToken } } }))
      return { items: page.fileSets ?? [], token: page.nextPageToken ?? '' }
    })).items,
  staleTime: 60_000,
})

export const scheduleQuery = (policy: string) =>
  queryOptions({
    queryKey: ['policies', policy, 'schedule'],
    queryFn: () => body(api.GET('/v1/policies/{policy}:previewSchedule', { params: { path: { policy } } })),
  })

/** Each repository with its days and its verification. */
export const repositoriesQuery = queryOptions({
  queryKey: ['repositories'],
  queryFn: async () => {
    const list = await body(api.GET('/v1/repositories', { params: { query: { pageSize: 1000 } } }))
    const names = (list.repositories ?? []).map((repository) => (repository.name ?? '').replace('repositories/', ''))
    return Promise.all(names.map((repository) => body(api.GET('/v1/repositories/{repository}', { params: { path: { repository } } }))))
  },
})
