// What the pages of the administration ask for.
import { infiniteQueryOptions, queryOptions } from '@tanstack/react-query'
import { api, body } from './client'

const next = (page: { nextPageToken?: string }) => page.nextPageToken || undefined

export const usersQuery = queryOptions({
  queryKey: ['users'],
  queryFn: async () => (await body(api.GET('/v1/users', { params: { query: { pageSize: 1000 } } }))).users ?? [],
})

export const userQuery = (user: string) =>
  queryOptions({ queryKey: ['users', user], queryFn: () => body(api.GET('/v1/users/{user}', { params: { path: { user } } })) })

export const rolesQuery = queryOptions({
  queryKey: ['roles'],
  queryFn: async () => (await body(api.GET('/v1/roles', { params: { query: { pageSize: 1000 } } }))).roles ?? [],
})

export const permissionsQuery = queryOptions({
  queryKey: ['permissions'],
  queryFn: async () => (await body(api.GET('/v1/permissions'))).permissions ?? [],
  staleTime: Infinity,
})

/** `user`: "me", a user, or "-" for everybody's. */
export const tokensQuery = (user: string) =>
  queryOptions({
    queryKey: ['tokens', user],
    queryFn: async () => (await body(api.GET('/v1/users/{user}/tokens', { params: { path: { user }, query: { pageSize: 1000 } } }))).tokens ?? [],
  })

export const sessionsQuery = (user: string) =>
  queryOptions({
    queryKey: ['sessions', user],
    queryFn: async () => (await body(api.GET('/v1/users/{user}/sessions', { params: { path: { user } } }))).sessions ?? [],
  })

export interface AuditFilter {
  principal: string
  method: string
  object: string
  failuresOnly: boolean
}

export const auditQuery = (filter: AuditFilter) =>
  infiniteQueryOptions({
    queryKey: ['audit', filter],
    queryFn: ({ pageParam }) => body(api.GET('/v1/auditEntries', { params: { query: { ...filter, pageSize: 200, pageToken: pageParam } } })),
    initialPageParam: '',
    getNextPageParam: next,
  })

export const channelsQuery = queryOptions({
  queryKey: ['channels'],
  queryFn: async () => (await body(api.GET('/v1/notificationChannels', { params: { query: { pageSize: 1000 } } }))).notificationChannels ?? [],
})

/** What went over a channel, or over all of them ("-"), newest first. */
export const messagesQuery = (notificationChannel: string) =>
  infiniteQueryOptions({
    queryKey: ['channels', notificationChannel, 'messages'],
    queryFn: ({ pageParam }) =>
      body(api.GET('/v1/notificationChannels/{notificationChannel}/notifications', {
        params: { path: { notificationChannel }, query: { pageSize: 50, pageToken: pageParam } },
      })),
    initialPageParam: '',
    getNextPageParam: next,
  })

/** A message that somebody waits for; name as the API has it. */
export const messageQuery = (name: string) => {
  const [, notificationChannel = '', , notification = ''] = name.split('/')
  return queryOptions({
    queryKey: ['channels', notificationChannel, 'message', notification],
    queryFn: () => body(api.GET('/v1/notificationChannels/{notificationChannel}/notifications/{notification}', { params: { path: { notificationChannel, notification } } })),
    enabled: notification !== '',
    refetchInterval: (query) => (query.state.data?.state === 'STATE_QUEUED' || !query.state.data ? 1000 : false),
  })
}

export const catalogQuery = queryOptions({ queryKey: ['catalog'], queryFn: () => body(api.GET('/v1/catalog')) })

export const loggingQuery = queryOptions({ queryKey: ['logging'], queryFn: () => body(api.GET('/v1/logging')) })

/** The daemon's version, as its description of itself says it. */
export const versionQuery = queryOptions({
  queryKey: ['version'],
  queryFn: async () => {
    const answer = await fetch(new Request(new URL('/openapi.json', window.location.origin)))
    return ((await answer.json()) as { info?: { version?: string } }).info?.version ?? ''
  },
  staleTime: 300_000,
})
