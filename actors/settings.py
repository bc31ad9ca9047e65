"""All settings, one frozen object: keyword arguments › LIGHTNING_STATE_* › lightning-state.toml › these defaults."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from lightning_state.actors.errors import LightningStateError
from lightning_state.actors.limits import CacheSettings, Limits


class SettingsError(LightningStateError):
    """A setting is unknown, malformed or out of range."""

    code = "settings"
    http_status = 400


class VerlSettings(BaseModel):
    """The validator pool."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_validators: int = Field(default=1, ge=1)
    max_validators: int = Field(default=5, ge=1)
    scale_up_at: float = Field(default=0.70, gt=0, le=1)
    scale_down_at: float = Field(default=0.30, ge=0, lt=1)
    cooldown_s: float = Field(default=60.0, ge=0)
    confidence_threshold: float = Field(default=0.8, ge=0, le=1)
    confidence_thresholds: dict[str, float] = Field(default_factory=dict)
    """Category → threshold, where it differs."""
    unavailable_after_s: float = Field(default=5.0, gt=0)
    """A write that finds no validator for this long is refused."""
    validator_timeout_s: float = Field(default=10.0, gt=0)
    """How long a user's own validator may take for one state."""
    check_references: bool = False

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.min_validators > self.max_validators:
            raise ValueError("min_validators is above max_validators: raise max_validators too")
        if self.scale_down_at >= self.scale_up_at:
            raise ValueError("scale_down_at must be below scale_up_at")
        return self


class JudgeSettings(BaseModel):
    """An OpenAI-compatible endpoint that may take the writing and judging; unset: extractive, no network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str | None = None
    model: str = "gpt-4o-mini"
    api_key: str | None = Field(default=None, repr=False)
    timeout_s: float = Field(default=30.0, gt=0)


class Settings(BaseSettings):
    """The service's settings; immutable, checked once."""

    model_config = SettingsConfigDict(
        env_prefix="LIGHTNING_STATE_",
        env_nested_delimiter="__",
        toml_file="lightning-state.toml",
        frozen=True,
        extra="forbid",
    )

    service: str = Field(default="default", pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    data_dir: Path = Path(".lightning-state")
    store: Literal["sqlite"] = "sqlite"
    shards: int = Field(default=2, ge=1, le=64)
    slots: int = Field(default=64, ge=1, le=4096)
    """Slots per category, fixed when a service is created."""
    address: str | None = None
    """Ray's address; None: the running cluster of this machine, or a new local one."""
    http_port: int | None = Field(default=None, ge=1, le=65535)
    """Serve HTTP on this port; None: no HTTP."""
    http_host: str = "127.0.0.1"
    """Address HTTP listens on: this machine only, unless changed."""
    ping_interval_s: float = Field(default=1.0, gt=0)
    shard_silent_s: float = Field(default=3.0, gt=0)
    """A shard that answers no ping for this long is replaced."""
    timeout_s: float = Field(default=30.0, gt=0, le=86_400)
    """A client call's deadline unless the call names its own."""
    limits: Limits = Limits()
    cache: CacheSettings = CacheSettings()
    verl: VerlSettings = VerlSettings()
    judge: JudgeSettings = JudgeSettings()
    transitions: dict[str, dict[str, list[str]]] = Field(default_factory=dict)
    """Category → status → statuses that may follow: replaces that category's own table."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # pydantic-settings passes it; .env files are not read
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # the same
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then environment, then the TOML file of the working directory."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @classmethod
    def read(cls, **arguments: Any) -> Self:
        """Settings from all sources; arguments that are None count as not given. Raises SettingsError."""
        try:
            return cls(**{name: value for name, value in arguments.items() if value is not None})
        except (ValidationError, ValueError) as error:
            raise SettingsError(f"bad settings: {error}") from error

    @classmethod
    def published(cls, values: Mapping[str, Any]) -> Self:
        """The settings a service runs with, from `public_settings`: no environment or file of this process is read.

        Raises SettingsError for those of another version.
        """
        settings = cls.__new__(cls)
        try:
            # `model_validate` would call the constructor, which merges this process's own sources into the values.
            cls.__pydantic_validator__.validate_python(dict(values), self_instance=settings)
        except ValidationError as error:
            raise SettingsError(f"the service has settings unknown here: use the same version ({error})") from error
        return settings


def public_settings(settings: Settings) -> dict[str, Any]:
    """The settings as JSON values for anyone who asks the service: without secrets."""
    return settings.model_dump(mode="json", exclude={"judge": {"api_key"}})
