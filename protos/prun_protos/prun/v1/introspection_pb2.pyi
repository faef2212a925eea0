from prun_protos.prun.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class VersionRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class VersionResponse(_message.Message):
    __slots__ = ("version", "apis", "engine", "platform")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    APIS_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    version: str
    apis: _containers.RepeatedScalarFieldContainer[str]
    engine: str
    platform: _types_pb2.Platform
    def __init__(self, version: _Optional[str] = ..., apis: _Optional[_Iterable[str]] = ..., engine: _Optional[str] = ..., platform: _Optional[_Union[_types_pb2.Platform, _Mapping]] = ...) -> None: ...

class RuntimesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RuntimesResponse(_message.Message):
    __slots__ = ("runtimes",)
    class Runtime(_message.Message):
        __slots__ = ("name", "platforms", "unavailable", "remedy", "options", "shim")
        class OptionsEntry(_message.Message):
            __slots__ = ("key", "value")
            KEY_FIELD_NUMBER: _ClassVar[int]
            VALUE_FIELD_NUMBER: _ClassVar[int]
            key: str
            value: str
            def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
        NAME_FIELD_NUMBER: _ClassVar[int]
        PLATFORMS_FIELD_NUMBER: _ClassVar[int]
        UNAVAILABLE_FIELD_NUMBER: _ClassVar[int]
        REMEDY_FIELD_NUMBER: _ClassVar[int]
        OPTIONS_FIELD_NUMBER: _ClassVar[int]
        SHIM_FIELD_NUMBER: _ClassVar[int]
        name: str
        platforms: _containers.RepeatedCompositeFieldContainer[_types_pb2.Platform]
        unavailable: str
        remedy: str
        options: _containers.ScalarMap[str, str]
        shim: str
        def __init__(self, name: _Optional[str] = ..., platforms: _Optional[_Iterable[_Union[_types_pb2.Platform, _Mapping]]] = ..., unavailable: _Optional[str] = ..., remedy: _Optional[str] = ..., options: _Optional[_Mapping[str, str]] = ..., shim: _Optional[str] = ...) -> None: ...
    RUNTIMES_FIELD_NUMBER: _ClassVar[int]
    runtimes: _containers.RepeatedCompositeFieldContainer[RuntimesResponse.Runtime]
    def __init__(self, runtimes: _Optional[_Iterable[_Union[RuntimesResponse.Runtime, _Mapping]]] = ...) -> None: ...

class PluginsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PluginsResponse(_message.Message):
    __slots__ = ("plugins",)
    class Plugin(_message.Message):
        __slots__ = ("name", "group", "distribution", "version", "hooks", "error")
        NAME_FIELD_NUMBER: _ClassVar[int]
        GROUP_FIELD_NUMBER: _ClassVar[int]
        DISTRIBUTION_FIELD_NUMBER: _ClassVar[int]
        VERSION_FIELD_NUMBER: _ClassVar[int]
        HOOKS_FIELD_NUMBER: _ClassVar[int]
        ERROR_FIELD_NUMBER: _ClassVar[int]
        name: str
        group: str
        distribution: str
        version: str
        hooks: _containers.RepeatedScalarFieldContainer[str]
        error: str
        def __init__(self, name: _Optional[str] = ..., group: _Optional[str] = ..., distribution: _Optional[str] = ..., version: _Optional[str] = ..., hooks: _Optional[_Iterable[str]] = ..., error: _Optional[str] = ...) -> None: ...
    PLUGINS_FIELD_NUMBER: _ClassVar[int]
    plugins: _containers.RepeatedCompositeFieldContainer[PluginsResponse.Plugin]
    def __init__(self, plugins: _Optional[_Iterable[_Union[PluginsResponse.Plugin, _Mapping]]] = ...) -> None: ...
