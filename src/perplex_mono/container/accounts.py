"""Builds who may use the server: users, logins, API keys, and the log of what happened to them."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

from perplex_mono.accounts.attempts import LoginAttempts
from perplex_mono.accounts.audit import AuditLog
from perplex_mono.accounts.authentication import Authenticator
from perplex_mono.accounts.keys import ApiKeyService
from perplex_mono.accounts.logins import LoginService
from perplex_mono.accounts.passwords import Passwords
from perplex_mono.accounts.service import AccountService
from perplex_mono.accounts.setup_token import SetupToken
from perplex_mono.container.storage import Storage
from perplex_mono.library.collections import CollectionService
from perplex_mono.settings import Settings


@dataclass(frozen=True)
class Accounts:
    """Who may use the server."""

    authenticator: Authenticator
    service: AccountService
    logins: LoginService
    keys: ApiKeyService
    audit: AuditLog
    attempts: LoginAttempts

    async def tidy(self) -> None:
        """Write down and forget what nobody waits for; to be called now and then."""
        await self.authenticator.write_uses()
        await self.audit.forget_old()


async def open_accounts(
    settings: Settings, stack: AsyncExitStack, storage: Storage, collections: CollectionService
) -> Accounts:
    """Build the services and look whether there are users. Raises `ConfigurationError` for a bad set-up token."""
    auth, limits, database = settings.auth, settings.limits, storage.database
    passwords = Passwords()
    stack.callback(passwords.close)
    authenticator = Authenticator(database)
    await authenticator.open()
    stack.push_async_callback(authenticator.write_uses)
    audit = AuditLog(database, kept_days=auth.audit_days)
    attempts = LoginAttempts(max_failures=limits.login_attempts, window_seconds=limits.login_window_seconds)
    logins = LoginService(
        database,
        authenticator,
        passwords,
        attempts,
        audit,
        access_minutes=auth.access_minutes,
        refresh_days=auth.refresh_days,
    )
    token = await asyncio.to_thread(SetupToken, auth.setup_token_file)
    service = AccountService(database, authenticator, passwords, logins, audit, token, collections.add_default)
    return Accounts(authenticator, service, logins, ApiKeyService(database, authenticator), audit, attempts)
