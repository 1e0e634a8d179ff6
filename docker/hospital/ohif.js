// What OHIF shows, and from where: the DICOMweb service of Orthanc, which nginx.conf serves at the same address.

// OHIF 3.11 to 3.13 does not draw a Parametric Map that is opened after its CT: the map's texture was filled before its
// values came. When it is closed, the CT keeps the colours of the map. Both are mended when what is shown changes.
const COLOURS_OF_A_MAP = 'rainbow_2';
const showMaps = {
  id: 'kicc_ml.show-maps',
  onModeEnter({ servicesManager, commandsManager }) {
    const { cornerstoneViewportService: service } = servicesManager.services;
    service.subscribe(service.EVENTS.VIEWPORT_DATA_CHANGED, ({ viewportId }) => {
      const viewport = service.getCornerstoneViewport(viewportId);
      if (!viewport) return;
      const shown = viewport.getActors().map(actor => actor.referencedId ?? '');
      const maps = shown.filter(id => id.startsWith('pmap.'));
      for (const id of maps) {
        commandsManager.runCommand('updateVolumeData', { volume: window.cornerstone.cache.getVolume(id) });
      }
      if (!maps.length && viewport.getProperties().colormap?.name === COLOURS_OF_A_MAP) {
        viewport.resetProperties();
      }
      viewport.render();
    });
  },
};

window.config = {
  routerBasename: null,
  extensions: [showMaps],
  modes: [],
  showStudyList: true,
  showErrorDetails: 'production',
  maxNumberOfWebWorkers: 3,
  showWarningMessageForCrossOrigin: false,
  strictZSpacingForVolumeViewport: true,
  groupEnabledModesFirst: true,
  defaultDataSourceName: 'orthanc',
  dataSources: [
    {
      namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
      sourceName: 'orthanc',
      configuration: {
        friendlyName: 'Orthanc',
        name: 'orthanc',
        qidoRoot: '/dicom-web',
        wadoRoot: '/dicom-web',
        wadoUriRoot: '/dicom-web',
        qidoSupportsIncludeField: false,
        supportsFuzzyMatching: false,
        supportsWildcard: true,
        imageRendering: 'wadors',
        thumbnailRendering: 'wadors',
        enableStudyLazyLoad: true,
        omitQuotationForMultipartRequest: true,
        singlepart: 'pdf',
        bulkDataURI: { enabled: true, relativeResolution: 'studies' },
      },
    },
  ],
};
