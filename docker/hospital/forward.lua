-- The PACS sends each CT and each radiograph to the node once no more images of it come; the node's results stay here.
function OnStableSeries(series, tags, metadata)
  if tags.Modality == 'CT' or tags.Modality == 'CR' or tags.Modality == 'DX' then
    RestApiPost('/modalities/kicc_ml/store', series)
  end
end
