// The administration: one's own account, people, programs, what was done, who is told, and the daemon itself.
import { Skeleton } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { lazy, Suspense } from 'react'
import { Navigate, NavLink, Route, Routes } from 'react-router'
import type { Identity } from '../../api/client'
import { identityQuery } from '../../api/queries'
import { canEverywhere } from '../../logic/permissions'

const Account = lazy(() => import('./account'))
const Users = lazy(() => import('./users'))
const UserPage = lazy(() => import('./user'))
const Roles = lazy(() => import('./roles'))
const Tokens = lazy(() => import('./tokens'))
const Audit = lazy(() => import('./audit'))
const Channels = lazy(() => import('./channels'))
const DaemonPage = lazy(() => import('./daemon'))

const SECTIONS = [
  { to: 'account', label: 'My account', permission: '' },
  { to: 'users', label: 'Users', permission: 'users.view' },
  { to: 'roles', label: 'Roles', permission: '' },
  { to: 'tokens', label: 'Tokens', permission: 'users.view' },
  { to: 'audit', label: 'Audit log', permission: 'audit.view' },
  { to: 'notifications', label: 'Notifications', permission: 'notifications.view' },
  { to: 'daemon', label: 'Daemon', permission: 'catalog.view' },
]

export function sectionsOf(identity: Identity | undefined): string[] {
  return SECTIONS.filter((section) => section.permission === '' || canEverywhere(identity, section.permission)).map((section) => section.to)
}

export default function Administration() {
  const identity = useQuery(identityQuery)
  const shown = sectionsOf(identity.data)
  return (
    <>
      <nav className="tabs" aria-label="Administration">
        {SECTIONS.filter((section) => shown.includes(section.to)).map((section) => <NavLink key={section.to} to={`/admin/${section.to}`}>{section.label}</NavLink>)}
      </nav>
      <div className="below-tabs">
        <Suspense fallback={<Skeleton height={160} aria-label="Loading" />}>
          <Routes>
            <Route path="account" element={<Account />} />
            <Route path="users" element={<Users />} />
            <Route path="users/:user" element={<UserPage />} />
            <Route path="roles" element={<Roles />} />
            <Route path="tokens" element={<Tokens />} />
            <Route path="audit" element={<Audit />} />
            <Route path="notifications" element={<Channels />} />
            <Route path="daemon" element={<DaemonPage />} />
            <Route path="*" element={<Navigate replace to={`/admin/${shown.includes('users') ? 'users' : 'account'}`} />} />
          </Routes>
        </Suspense>
      </div>
    </>
  )
}
