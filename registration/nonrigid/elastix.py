"""B-spline registration of one single-channel block with elastix (the paper's section 3.1).

The only module that imports ``itk``. Only the few compiled modules that elastix itself needs are
imported: asking the ``itk`` package for them by attribute loads every filter of ITK, twice, which
costs ten seconds and a gigabyte in each worker.

Images are arrays ``(height, width)``; displacements are in pixels of those arrays.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from registration.bspline import BSpline
from registration.files.storage import write_text

Gray = NDArray[np.float32]

SMOOTHING_PX = 1.0
"""Standard deviation of the smoothing at a single resolution; 0.7 to 1.5 are as good, none is not."""


@dataclass(frozen=True, slots=True)
class ElastixSettings:
    """Settings of one B-spline registration; lengths in pixels of the images given to it."""

    grid_px: float
    """Distance of the control points of the finest resolution."""
    iterations: int = 256
    samples: int = 2048
    resolutions: int = 3
    metric: str = "AdvancedNormalizedCorrelation"
    """Similarity measure; ``AdvancedMattesMutualInformation`` is the other that was measured."""
    seed: int = 121212


@dataclass(frozen=True, eq=False)
class ElastixResult:
    """What elastix found for one block."""

    spline: BSpline
    parameters: dict[str, tuple[str, ...]]
    """The transform parameter map, for those who want to feed it to transformix."""


def register_bspline(
    fixed: Gray, moving: Gray, settings: ElastixSettings, mask: NDArray[np.uint8] | None = None
) -> ElastixResult:
    """Register ``moving`` to ``fixed``; the spline maps fixed pixels to moving pixels.

    ``mask`` marks the fixed pixels (non-zero) from which samples are drawn. Raises
    :class:`RuntimeError` when elastix gives up, for example because the images do not overlap.
    """
    itk = _itk()
    parameters = itk.parameter_object()
    parameters.SetParameterMap(_parameter_map(itk, settings))
    if settings.resolutions == 1:
        fixed, moving = (cv2.GaussianBlur(image, (0, 0), SMOOTHING_PX) for image in (fixed, moving))
    fixed, moving = np.ascontiguousarray(fixed), np.ascontiguousarray(moving)
    method = itk.method()
    method.SetFixedImage(itk.image.GetImageViewFromArray(fixed))
    method.SetMovingImage(itk.image.GetImageViewFromArray(moving))
    if mask is not None:
        mask = np.ascontiguousarray(mask)
        method.SetFixedMask(itk.mask.GetImageViewFromArray(mask))
    method.SetParameterObject(parameters)
    method.SetLogToConsole(False)
    method.SetLogToFile(False)
    method.UpdateLargestPossibleRegion()
    found = method.GetTransformParameterObject().GetParameterMap(0)
    described = {key: tuple(found[key]) for key in found}
    return ElastixResult(spline_of(described), described)


def spline_of(parameters: dict[str, tuple[str, ...]]) -> BSpline:
    """Return the spline that a transform parameter map describes."""
    columns, rows = (int(value) for value in parameters["GridSize"])
    origin_x, origin_y = (float(value) for value in parameters["GridOrigin"])
    spacing_x, spacing_y = (float(value) for value in parameters["GridSpacing"])
    values = np.array(parameters["TransformParameters"], np.float64).reshape(2, rows, columns)
    return BSpline((origin_x, origin_y), (spacing_x, spacing_y), np.moveaxis(values, 0, -1))


def write_transform_file(path: Path, parameters: dict[str, tuple[str, ...]]) -> None:
    """Write a transform parameter map as the text file that elastix and transformix read."""
    lines = []
    for key, values in parameters.items():
        texts = [value if _is_number(value) else f'"{value}"' for value in values]
        lines.append(f"({key} {' '.join(texts)})")
    write_text(path, "\n".join(lines) + "\n")


def transformix(moving: Gray, parameters: dict[str, tuple[str, ...]]) -> Gray:
    """Resample one channel with elastix's own transformix: the naive way, kept as a reference."""
    itk = _itk()
    transform = itk.parameter_object()
    values = itk.map(parameters)
    transform.SetParameterMap(values)
    moving = np.ascontiguousarray(moving)
    warper = itk.transformix()
    warper.SetMovingImage(itk.image.GetImageViewFromArray(moving))
    warper.SetTransformParameterObject(transform)
    warper.SetLogToConsole(False)
    warper.UpdateLargestPossibleRegion()
    return np.array(itk.image.GetArrayViewFromImage(warper.GetOutput()), np.float32)


def warm_up() -> None:
    """Load elastix and run it once, so that the first block does not pay for it."""
    y, x = np.mgrid[:64, :64].astype(np.float32)
    bump = np.exp(-((x - 32) ** 2 + (y - 30) ** 2) / 200).astype(np.float32)
    register_bspline(
        bump, bump, ElastixSettings(grid_px=32, iterations=2, samples=64, resolutions=1)
    )


@cache
def _itk() -> SimpleNamespace:
    """Load the compiled modules that elastix needs, and set ITK to one thread.

    One process per core is faster than threads: elastix holds Python's lock for its whole call.
    """
    import itkConfig

    itkConfig.DefaultFactoryLoading = False
    with warnings.catch_warnings():
        # The wrappers warn about their own types while they load; turned into errors by a caller's
        # filter, that crashes the interpreter.
        warnings.simplefilter("ignore")
        from itk.support import helpers

        # The wrappers load these, where they are installed, to take their arrays; ours are NumPy's.
        helpers._HAVE_TORCH = helpers._HAVE_XARRAY = False
        from itk import (
            ITKCommonBasePython,
            elxParameterObjectPython,
            itkElastixRegistrationMethodPython,
            itkPyBufferPython,
            itkTransformixFilterPython,
        )
    ITKCommonBasePython.itkMultiThreaderBase.SetGlobalDefaultNumberOfThreads(1)
    ITKCommonBasePython.itkObject.SetGlobalWarningDisplay(False)
    return SimpleNamespace(
        parameter_object=elxParameterObjectPython.elastixParameterObject_New,
        map=elxParameterObjectPython.mapstringvectorstring,
        image=itkPyBufferPython.itkPyBufferIF2,
        mask=itkPyBufferPython.itkPyBufferIUC2,
        method=itkElastixRegistrationMethodPython.itkElastixRegistrationMethodIF2IF2_New,
        transformix=itkTransformixFilterPython.itkTransformixFilterIF2_New,
    )


def _parameter_map(itk: SimpleNamespace, settings: ElastixSettings) -> Any:
    """Return elastix's own parameter map for ``settings``."""
    # At a single resolution the images come smoothed, and shrinking by one leaves them as they are:
    # elastix's own smoothing of whole images takes as long as 150 iterations.
    pyramid = "Shrinking" if settings.resolutions == 1 else "Smoothing"
    schedule = [2.0**level for level in reversed(range(settings.resolutions))]
    values: dict[str, tuple[str, ...]] = {
        "Registration": ("MultiResolutionRegistration",),
        "Metric": (settings.metric,),
        "FixedInternalImagePixelType": ("float",),
        "MovingInternalImagePixelType": ("float",),
        "FixedImagePyramid": (f"Fixed{pyramid}ImagePyramid",),
        "MovingImagePyramid": (f"Moving{pyramid}ImagePyramid",),
        "ImagePyramidSchedule": tuple(str(v) for v in schedule for _ in range(2)),
        "NumberOfResolutions": (str(settings.resolutions),),
        "Interpolator": ("LinearInterpolator",),
        "ResampleInterpolator": ("FinalLinearInterpolator",),
        "Resampler": ("DefaultResampler",),
        "Optimizer": ("AdaptiveStochasticGradientDescent",),
        "AutomaticParameterEstimation": ("true",),
        "Transform": ("BSplineTransform",),
        "HowToCombineTransforms": ("Compose",),
        "FinalGridSpacingInPhysicalUnits": (repr(float(settings.grid_px)),),
        "GridSpacingSchedule": tuple(str(v) for v in schedule for _ in range(2)),
        "ImageSampler": ("RandomCoordinate",),
        "NewSamplesEveryIteration": ("true",),
        "NumberOfSpatialSamples": (str(settings.samples),),
        "MaximumNumberOfIterations": (str(settings.iterations),),
        "MaximumNumberOfSamplingAttempts": ("8",),
        "RandomSeed": (str(settings.seed),),
        "ErodeMask": ("false",),
        "CheckNumberOfSamples": ("true",),
        "UseDirectionCosines": ("true",),
        "DefaultPixelValue": ("0",),
        "WriteResultImage": ("false",),
    }
    return itk.map(values)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
