// What the pages of repositories ask for.
import { infiniteQueryOptions, queryOptions } from '@tanstack/react-query'
import { isFinal } from '../logic/jobs'
import { api, body } from './client'

export const repositoryQuery = (repository: string) =>
  queryOptions({
    queryKey: ['repositories', repository],
    queryFn: () => body(api.GET('/v1/repositories/{repository}', { params: { path: { repository } } })),
  })

export const repositoryKeysQuery = (repository: string) =>
  queryOptions({
    queryKey: ['repositories', repository, 'keys'],
    queryFn: () => body(api.GET('/v1/repositories/{repository}/keys', { params: { path: { repository }, query: { pageSize: 1000 } } })),
  })

/** The newest verifications or prunes of a repository. */
export const upkeepQuery = (kind: 'verify' | 'prune', repository: string) =>
  queryOptions({
    queryKey: ['jobs', 'upkeep', kind, repository],
    queryFn: async () => {
      const page = await body(api.GET('/v1/jobs', { params: { query: { kind, pageSize: 100 } } }))
      // A job that names none is of the default repository; with one repository that is this one, and with several it is shown at each.
      return (page.jobs ?? []).filter((job) => [`repositories/${repository}`, ''].includes(job[kind]?.repository ?? ''))
    },
    refetchInterval: (query) => ((query.state.data ?? []).some((job) => !isFinal(job)) ? 2000 : false),
  })

/** A job that somebody waits for. */
export const awaitedJobQuery = (job: string) =>
  queryOptions({
    queryKey: ['job', job],
    queryFn: () => body(api.GET('/v1/jobs/{job}', { params: { path: { job } } })),
    enabled: job !== '',
    refetchInterval: (query) => (query.state.data && isFinal(query.state.data) ? false : 500),
  })

export type PointKind = 'FILTER_REMOVED' | 'FILTER_HELD' | 'FILTER_LOCKED'

/** A repository's points that are removed, held or locked, newest first. */
export const keptPointsQuery = (repository: string, filter: PointKind) =>
  infiniteQueryOptions({
    queryKey: ['points', 'kept', repository, filter],
    queryFn: ({ pageParam }) => body(api.GET('/v1/recoveryPoints', { params: { query: { repository: `repositories/${repository}`, filter, pageSize: 100, pageToken: pageParam } } })),
    initialPageParam: '',
    getNextPageParam: (page: { nextPageToken?: string }) => page.nextPageToken || undefined,
  })
