"""A database becomes a ledger of the newest schema, all at once or not at all.

A new one is made as it is; what an older release wrote is altered step by step by Alembic, and
the scripts in `migrations` are the steps. Tests see to it that both come to the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, insert, inspect, select, update

from host.errors import LedgerError
from host.ledger.database import writing
from host.ledger.schema import SCHEMA, facts, metadata, versions

PEERS = 0x626F617264  # "board": the number of PostgreSQL's lock that those who migrate at once wait for


def read_schema(connection: Connection) -> int | None:
    """The schema version of a database, None where nothing was stored yet."""
    if not inspect(connection).has_table(facts.name):
        return None
    found = connection.execute(select(facts.c.value).where(facts.c.name == "schema")).scalar()
    return None if found is None else int(found)


def check_schema(found: int, where: str) -> None:
    """Raise LedgerError for a ledger that a newer release has written."""
    if found > SCHEMA:
        raise LedgerError(
            f"{where} was written by a newer boardbench (schema {found}; this one reads {SCHEMA})",
            "Upgrade with `pip install --upgrade boardbench`.",
        )


def bring_up_to_date(engine: Engine, where: str) -> None:
    """Create the tables, or alter those of an older release, in one transaction; what fails leaves them be.

    Safe when several processes do it at once: one does it, the others wait, and find it done.
    """
    with engine.connect() as connection:
        found = read_schema(connection)
        if found is not None:
            check_schema(found, where)
        if found == SCHEMA:
            return
        connection.rollback()
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({PEERS})")
        found = read_schema(connection)
        if found is None:
            create_schema(connection)
        else:
            check_schema(found, where)
            with explain_damage(where):
                upgrade_schema(connection, found)


@contextmanager
def explain_damage(where: str) -> Iterator[None]:
    """Turn what makes the rows of an older release unreadable into LedgerError."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LedgerError(
            f"{where} was written by an older boardbench, and a row of it cannot be read: {error!r}",
            "It was left as it is. A copy of the file, or the release that wrote it, may still read it.",
        ) from error


def create_schema(connection: Connection) -> None:
    """The newest tables in an empty database."""
    metadata.create_all(connection, checkfirst=False)
    connection.execute(insert(facts).values(name="schema", value=SCHEMA))
    connection.execute(insert(versions).values(version_num=name_revision(SCHEMA)))


def upgrade_schema(connection: Connection, found: int) -> None:
    """Take an older ledger through every step that it lacks."""
    if found == SCHEMA:
        return
    if not inspect(connection).has_table(versions.name):  # written before there were migrations
        versions.create(connection)
        connection.execute(insert(versions).values(version_num=name_revision(found)))
    run_steps(connection, name_revision(SCHEMA))
    connection.execute(update(facts).where(facts.c.name == "schema").values(value=SCHEMA))


def run_steps(connection: Connection, revision: str) -> None:
    """Let Alembic do the steps up to one, in the transaction of the connection."""
    from alembic import command  # a tenth of a second, which most commands need not spend
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def name_revision(schema: int) -> str:
    """What Alembic calls the step that leads to a schema."""
    return f"schema_{schema}"
