"""Orders in PostgreSQL: POST /orders keeps one, GET /orders lists them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from fastapi import FastAPI
from pydantic import BaseModel

SCHEMA = "CREATE TABLE IF NOT EXISTS orders (id BIGSERIAL PRIMARY KEY, item TEXT NOT NULL)"

app = FastAPI()


@contextmanager
def connect() -> Iterator[psycopg.Connection]:
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(1)")  # one makes the table
        connection.execute(SCHEMA)
        yield connection


class Order(BaseModel):
    item: str


@app.get("/health")
def health() -> dict[str, str]:
    with connect():
        return {"status": "ok"}


@app.get("/orders")
def orders() -> list[dict[str, object]]:
    with connect() as connection:
        rows = connection.execute("SELECT id, item FROM orders ORDER BY id DESC LIMIT 100")
        return [{"id": number, "item": item} for number, item in rows]


@app.post("/orders", status_code=201)
def keep(order: Order) -> dict[str, int]:
    with connect() as connection:
        row = connection.execute(
            "INSERT INTO orders (item) VALUES (%s) RETURNING id", [order.item]
        ).fetchone()
    assert row is not None
    return {"id": row[0]}
